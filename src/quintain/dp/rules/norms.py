"""Layers that normalise, then scale and shift: sums over positions of normalised input times gradient, and of gradient."""

import math
from collections.abc import Collection
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from quintain.core.errors import PrivacyError
from quintain.dp.gradients.forms import Dense, PerExample
from quintain.dp.rules.protocol import Use


def group_norm(layer: nn.Module, use: Use, input: Tensor) -> Tensor:
    """``nn.GroupNorm.forward``."""
    norm = cast(nn.GroupNorm, layer)
    return _grouped(norm, use, input, norm.num_groups)


def instance_norm(layer: nn.Module, use: Use, input: Tensor) -> Tensor:
    """``nn.InstanceNorm1d`` to ``nn.InstanceNorm3d``: a GroupNorm of one group a channel, which takes empty batches too.

    Raises:
        PrivacyError: If it keeps running statistics, or its input has no batch.
    """
    norm = cast(_InstanceNorm, layer)
    norm._check_input_dim(input)
    if norm.running_mean is not None:
        raise PrivacyError(
            f"a trainable {type(norm).__name__} keeps running statistics; expected track_running_stats=False, or frozen weights in "
            "evaluation mode"
        )
    if input.dim() == norm._get_no_batch_dim():
        raise PrivacyError(f"a {type(norm).__name__} got an input of shape {tuple(input.shape)}; expected the batch as first dimension")
    return _grouped(norm, use, input, input.shape[1])


def _grouped(norm: nn.GroupNorm | _InstanceNorm, use: Use, x: Tensor, groups: int) -> Tensor:
    output: Tensor = _Grouped.apply(norm, use, groups, use.needs, x)
    return output


class _Grouped(torch.autograd.Function):
    """A GroupNorm whose one backward call, on the batch folded into channels and groups, gives all three gradients."""

    @staticmethod
    def forward(ctx: Any, norm: nn.GroupNorm | _InstanceNorm, use: Use, groups: int, _needs: Tensor, x: Tensor) -> Tensor:
        ctx.use, ctx.groups = use, groups
        a = x.contiguous()
        (batch, channels), size = a.shape[:2], math.prod(a.shape[2:])
        output, mean, scale = torch.native_group_norm(a, norm.weight, norm.bias, batch, channels, size, groups, norm.eps)
        ctx.save_for_backward(a, mean, scale, None if norm.weight is None else norm.weight.detach())
        return output

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        a, mean, scale, weight = ctx.saved_tensors
        names, (batch, channels) = ctx.use.names, a.shape[:2]
        rows, size = batch * channels, math.prod(a.shape[2:])
        weight = a.new_ones(rows) if weight is None else weight.expand(batch, channels).reshape(rows)
        whole = [x.contiguous().view(1, rows, size) for x in (g, a)] + [x.view(1, batch * ctx.groups) for x in (mean, scale)]
        wanted = [ctx.needs_input_grad[4], "weight" in names, "bias" in names]
        back, *found = torch.ops.aten.native_group_norm_backward(*whole, weight, 1, rows, size, batch * ctx.groups, wanted)
        known = dict(zip(("weight", "bias"), found, strict=True))
        ctx.use.note(batch, g, lambda: {name: Dense(known[name].view(batch, channels)) for name in names})
        return None, None, None, None, back.view_as(a) if ctx.needs_input_grad[4] else None


def layer_norm(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> dict[str, PerExample]:
    """``nn.LayerNorm``."""
    norm = cast(nn.LayerNorm, layer)
    shape = tuple(norm.normalized_shape)
    found: dict[str, PerExample] = {}
    if "weight" in names:
        found["weight"] = _over_positions(F.layer_norm(a, shape, eps=norm.eps) * g, len(shape))
    if "bias" in names:
        found["bias"] = _over_positions(g, len(shape))
    return found


def rms_norm(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> dict[str, PerExample]:
    """``nn.RMSNorm``."""
    del names
    norm = cast(nn.RMSNorm, layer)
    shape = list(norm.normalized_shape)
    return {"weight": _over_positions(F.rms_norm(a, shape, eps=norm.eps) * g, len(shape))}


def _over_positions(x: Tensor, dimensions: int) -> Dense:
    middle = tuple(range(1, x.dim() - dimensions))
    return Dense(x.sum(middle) if middle else x)
