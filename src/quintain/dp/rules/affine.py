"""Per-example gradients of linear and bilinear layers, of PReLU, and of a learned last position."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.gradients.forms import Dense, Outer, PerExample


def linear(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> dict[str, PerExample]:
    """``nn.Linear`` on (B, inputs) or (B, ..., inputs)."""
    del layer
    positions = math.prod(g.shape[1:-1])
    found: dict[str, PerExample] = {}
    if "weight" in names:
        found["weight"] = Outer(a.reshape(len(a), positions, a.shape[-1]), g.reshape(len(g), positions, g.shape[-1]))
    if "bias" in names:
        found["bias"] = Dense(g if g.dim() == 2 else g.reshape(len(g), positions, g.shape[-1]).sum(1))
    return found


def bilinear(layer: nn.Module, given: Mapping[str, Any], g: Tensor, names: Collection[str]) -> dict[str, PerExample]:
    """``nn.Bilinear``: gradients of both inputs' products."""
    del layer
    left, right = given["input1"], given["input2"]
    if not len(left) == len(right) == len(g):
        raise PrivacyError(f"a Bilinear got {len(left)} and {len(right)} examples for {len(g)}; expected the batch first in both inputs")
    g = g.reshape(len(g), -1, g.shape[-1])
    found: dict[str, PerExample] = {}
    if "weight" in names:
        left, right = (x.reshape(len(x), -1, x.shape[-1]) for x in (left, right))
        found["weight"] = Dense(torch.einsum("bto,bti,btj->boij", g, left, right))
    if "bias" in names:
        found["bias"] = Dense(g.sum(1))
    return found


def prelu(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> dict[str, PerExample]:
    """``nn.PReLU``: one slope, or one a channel."""
    del names
    slopes, fall = layer.num_parameters, g * a.clamp(max=0)
    kept = fall.flatten(1)[:, None] if slopes == 1 else fall.reshape(*fall.shape[:2], -1)
    return {"weight": Dense(kept.sum(2))}


def sequence_bias(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> dict[str, PerExample]:
    """``SequenceBias``: the gradient at the position that it adds."""
    del layer, a, names
    return {"bias": Dense(g[:, -1])}
