"""Small made-up people: smooth 8x8 pictures, each a person's own mix of patterns, with little noise."""

import numpy as np
import torch
from torch import nn

from quintain.data import from_arrays
from quintain.leakage import Candidates
from quintain.models import Classifier

SIDE, PATTERNS = 8, 12


def faces(people):
    """The mean pictures (n, 1, 8, 8) of people, who are numbers."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
    waves = [np.cos(np.pi * (a * y + b * x) + c) for a in range(3) for b in range(2) for c in (0.0, 1.5)]
    mixes = [np.random.default_rng([7, person]).normal(size=PATTERNS) for person in people]
    return (0.5 + 0.07 * np.tensordot(mixes, np.array(waves), 1))[:, None].clip(0, 1)


def pictures(people, count, *, seed=0, first=0):
    """A data set of ``count`` pictures of each person, labeled from ``first`` on."""
    rng = np.random.default_rng(seed)
    means = np.repeat(faces(people), count, axis=0)
    noisy = (means + 0.02 * rng.normal(size=means.shape)).clip(0, 1).astype(np.float32)
    labels = first + np.repeat(np.arange(len(people)), count)
    return from_arrays(noisy, labels, num_classes=max(2, first + len(people)))


def template_model(people, *, sharpness=20.0):
    """A linear softmax model that has the people's mean pictures as its weights."""
    templates = torch.from_numpy(faces(people)).float().flatten(1)
    templates = templates - templates.mean(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, len(people)))
    with torch.no_grad():
        net[1].weight.copy_(sharpness * templates)
        net[1].bias.copy_(-sharpness * (templates * 0.5).sum(1))
    return Classifier(net.eval(), num_classes=len(people))


def classes(*y):
    """The candidates of some classes."""
    return Candidates(y=torch.tensor(y), ids=torch.tensor(y), shape=(1, SIDE, SIDE))
