"""A run of two attacks on a small linear net."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from torch import nn

from quintain.attacks import FGSM, PGD
from quintain.data.dataset import from_arrays
from quintain.evaluate.evasion.attacks import run_attacks
from quintain.evaluate.model import named_model
from quintain.models.classifier import Classifier
from quintain.results.robustness_records import AttackedModel
from quintain.threats import Linf

SIZES = [Linf(0.02), Linf(0.05), Linf(0.1)]
ATTACKS = {"fgsm": FGSM(), "pgd": PGD(steps=8)}


def points(count=60):
    rng = np.random.default_rng(0)
    x = rng.random((count, 1, 3, 3)).astype(np.float32)
    return from_arrays(x, (x.mean((1, 2, 3)) > 0.5).astype(int), name="points")


@cache
def net():
    torch_net = nn.Sequential(nn.Flatten(), nn.Linear(9, 2)).eval()
    with torch.no_grad():
        torch_net[1].weight.copy_(torch.tensor([[-1.0] * 9, [1.0] * 9]) + torch.linspace(-0.3, 0.3, 9))
        torch_net[1].bias.copy_(torch.tensor([4.5, -4.5]))
    return torch_net


@cache
def subject():
    return named_model(Classifier(net(), num_classes=2), "tiny", "tiny model")


def run(subject_=None, data=None, threats=SIZES, attacks=ATTACKS, **words):
    return run_attacks(
        subject_ or subject(), data or points(), threats, attacks, **{"batch_size": 16, "seed": 3, **words}
    )


def timeless(found: AttackedModel) -> AttackedModel:
    return replace(found, rows=tuple(replace(row, seconds=0.0) for row in found.rows))


def counted(made):
    """Attacks that write down each call, and are told as what they wrap."""

    @dataclass
    class Counting:
        inner: object

        def __call__(self, model, x, y, threat, **words):
            made.append((type(self.inner).__name__, threat.spec, words["ids"].tolist()))
            return self.inner(model, x, y, threat, **words)

        def __repr__(self):
            return repr(self.inner)

    return {name: Counting(one) for name, one in ATTACKS.items()}
