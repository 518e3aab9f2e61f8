"""A model whose smoothed boundary is known, and points on both sides of it."""

import numpy as np
import torch
from torch import nn

from quintain.data.dataset import from_arrays
from quintain.evaluate.model import named_model
from quintain.models.classifier import Classifier


def halfspace():
    """Class 1 where x0 + x1 > 1: smoothing keeps the boundary where it is."""
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 0.0], [4.0, 4.0]]))
        model.bias.copy_(torch.tensor([0.0, -4.0]))
    return named_model(Classifier(model.eval(), num_classes=2), "half", "half-space")


def points(count=50):
    x = np.random.default_rng(1).random((count, 2)).astype(np.float32)
    return from_arrays(x, (x.sum(1) > 1).astype(int), name="points")
