"""A small net that is trained on points of the unit square."""

from functools import cache

import numpy as np
import torch
from torch import nn

from quintain.data.dataset import from_arrays
from quintain.threats import Linf
from quintain.training import Recipe, fit

SIZES = [Linf(0.05), Linf(0.1), Linf(0.2)]


def points(count=60):
    rng = np.random.default_rng(0)
    x = rng.random((count, 2)).astype(np.float32)
    return from_arrays(x, (x.sum(1) > 1).astype(int), name="points")


@cache
def net():
    generator = torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    fit(model, points(), Recipe(20, batch_size=16, learning_rate=0.02))
    return model
