"""Per-example gradients of normalization layers: sums over positions of normalized input times gradient."""

import math
from collections.abc import Collection
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from quintain.core.errors import PrivacyError
from quintain.dp.per_example.grads import DenseGrads, PerExampleGrads
from quintain.dp.rules.protocol import CustomForwardRule, LayerCall
from quintain.dp.rules.registry import register_rule


@register_rule(nn.GroupNorm)
@CustomForwardRule
def group_norm(layer: nn.Module, call: LayerCall, input: Tensor) -> Tensor:
    """The custom forward of ``nn.GroupNorm``."""
    norm = cast(nn.GroupNorm, layer)
    return _group_norm_with_grads(norm, call, input, norm.num_groups)


@register_rule(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
@CustomForwardRule
def instance_norm(layer: nn.Module, call: LayerCall, input: Tensor) -> Tensor:
    """The custom forward of ``nn.InstanceNorm1d`` to ``3d``: a GroupNorm with one group for each channel.

    Raises:
        PrivacyError: If it keeps running statistics, or its input has no batch.
    """
    norm = cast(_InstanceNorm, layer)
    norm._check_input_dim(input)
    if norm.running_mean is not None:
        raise PrivacyError(
            f"a trainable {type(norm).__name__} keeps running statistics; expected "
            "track_running_stats=False, or frozen weights in evaluation mode"
        )
    if input.dim() == norm._get_no_batch_dim():
        raise PrivacyError(
            f"a {type(norm).__name__} got an input of shape {tuple(input.shape)}; expected the batch as "
            "first dimension"
        )
    return _group_norm_with_grads(norm, call, input, input.shape[1])


def _group_norm_with_grads(
    norm: nn.GroupNorm | _InstanceNorm, call: LayerCall, x: Tensor, groups: int
) -> Tensor:
    output: Tensor = _GroupNormFunction.apply(norm, call, groups, call.grad_anchor, x)
    return output


class _GroupNormFunction(torch.autograd.Function):
    """A GroupNorm whose backward gives the input gradient and both per-example gradients in one call."""

    @staticmethod
    def forward(
        ctx: Any,
        norm: nn.GroupNorm | _InstanceNorm,
        call: LayerCall,
        groups: int,
        _grad_anchor: Tensor,
        x: Tensor,
    ) -> Tensor:
        ctx.call, ctx.groups = call, groups
        a = x.contiguous()
        (batch, channels), size = a.shape[:2], math.prod(a.shape[2:])
        output, mean, scale = torch.native_group_norm(
            a, norm.weight, norm.bias, batch, channels, size, groups, norm.eps
        )
        ctx.save_for_backward(a, mean, scale, None if norm.weight is None else norm.weight.detach())
        return output

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        a, mean, scale, weight = ctx.saved_tensors
        names, (batch, channels) = ctx.call.names, a.shape[:2]
        rows, size = batch * channels, math.prod(a.shape[2:])
        weight = a.new_ones(rows) if weight is None else weight.expand(batch, channels).reshape(rows)
        # examples as groups: one example with B * C channels, so that one backward call gives all gradients
        folded = [x.contiguous().view(1, rows, size) for x in (g, a)] + [
            x.view(1, batch * ctx.groups) for x in (mean, scale)
        ]
        wanted = [ctx.needs_input_grad[4], "weight" in names, "bias" in names]
        input_grad, *grads = torch.ops.aten.native_group_norm_backward(
            *folded, weight, 1, rows, size, batch * ctx.groups, wanted
        )
        known = dict(zip(("weight", "bias"), grads, strict=True))
        ctx.call.record_grads(
            batch, g, lambda: {name: DenseGrads(known[name].view(batch, channels)) for name in names}
        )
        return None, None, None, None, input_grad.view_as(a) if ctx.needs_input_grad[4] else None


@register_rule(nn.LayerNorm)
def layer_norm(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> dict[str, PerExampleGrads]:
    """The rule of ``nn.LayerNorm``."""
    norm = cast(nn.LayerNorm, layer)
    shape = tuple(norm.normalized_shape)
    grads: dict[str, PerExampleGrads] = {}
    if "weight" in names:
        grads["weight"] = _sum_over_positions(F.layer_norm(a, shape, eps=norm.eps) * g, len(shape))
    if "bias" in names:
        grads["bias"] = _sum_over_positions(g, len(shape))
    return grads


@register_rule(nn.RMSNorm)
def rms_norm(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> dict[str, PerExampleGrads]:
    """The rule of ``nn.RMSNorm``."""
    del names
    norm = cast(nn.RMSNorm, layer)
    shape = list(norm.normalized_shape)
    return {"weight": _sum_over_positions(F.rms_norm(a, shape, eps=norm.eps) * g, len(shape))}


def _sum_over_positions(x: Tensor, dimensions: int) -> DenseGrads:
    middle = tuple(range(1, x.dim() - dimensions))
    return DenseGrads(x.sum(middle) if middle else x)
