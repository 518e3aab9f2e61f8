"""Layers that normalise, then scale and shift: sums over positions of normalised input times gradient, and of gradient."""

from collections.abc import Collection
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quintain.dp.forms import Dense, PerExample


def group_norm(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> dict[str, PerExample]:
    """``nn.GroupNorm``; the normalised input is never built."""
    norm = cast(nn.GroupNorm, layer)
    batch, channels = a.shape[:2]
    a, g = a.reshape(batch, channels, -1), g.reshape(batch, channels, -1)
    shift = g.sum(2)
    found: dict[str, PerExample] = {}
    if "weight" in names:
        grouped = a.view(batch, norm.num_groups, -1)
        variance, mean = torch.var_mean(grouped, 2, correction=0)
        each = channels // norm.num_groups
        scale = (variance + norm.eps).rsqrt().repeat_interleave(each, 1)
        centre = mean.repeat_interleave(each, 1)
        found["weight"] = Dense((torch.linalg.vecdot(a, g) - centre * shift) * scale)
    if "bias" in names:
        found["bias"] = Dense(shift)
    return found


def layer_norm(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> dict[str, PerExample]:
    """``nn.LayerNorm``."""
    norm = cast(nn.LayerNorm, layer)
    shape = tuple(norm.normalized_shape)
    middle = tuple(range(1, a.dim() - len(shape)))

    def summed(x: Tensor) -> Dense:
        return Dense(x.sum(middle) if middle else x)

    found: dict[str, PerExample] = {}
    if "weight" in names:
        found["weight"] = summed(F.layer_norm(a, shape, eps=norm.eps) * g)
    if "bias" in names:
        found["bias"] = summed(g)
    return found
