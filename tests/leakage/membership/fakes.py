"""Confidences of a target and of shadow models with a known law, for attacks that read nothing else."""

import numpy as np
import torch

from quintain.leakage.attack import Candidates
from quintain.leakage.view import ModelView


class KnownConfidences:
    """A model of two classes that gives example i (its only feature is i / N) the log odds ``phi[i]``."""

    access, name, num_classes, hash, num_parameters = "scores", "known", 2, "", 0
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, phi):
        self.phi = torch.as_tensor(phi, dtype=torch.float64)

    def __call__(self, x):
        rows = (x[:, 0].double() * len(self.phi)).round().long()
        return torch.stack([self.phi[rows], torch.zeros(len(rows), dtype=torch.float64)], 1)

    def predict(self, x):
        return self(x).argmax(1)


class KnownShadows:
    """Shadow models whose confidences are drawn: N(shift * included, 1)."""

    def __init__(self, shadows, candidates, shift, seed):
        rng = np.random.default_rng(seed)
        halves = rng.random((shadows // 2, candidates)).argsort(1) < candidates // 2
        self.included = np.concatenate([halves, ~halves])
        self._phi = rng.standard_normal(self.included.shape) + shift * self.included
        self.models = [KnownConfidences(row) for row in self._phi]

    def confidences(self, number=0):
        return self._phi

    def columns(self, ids, y, *, attack):
        return ids.numpy()


def known_candidates(count):
    x = torch.arange(count, dtype=torch.float64)[:, None] / count
    return Candidates(y=torch.zeros(count, dtype=torch.long), ids=torch.arange(count), shape=(1,), x=x)


def known_target(candidates, shift, seed):
    """Return the view of a target, half of whose candidates are members, and which are."""
    rng = np.random.default_rng(seed)
    truth = rng.random(candidates) < 0.5
    return ModelView(KnownConfidences(rng.standard_normal(candidates) + shift * truth)), truth
