"""Layers that normalise, then scale and shift: sums over positions of normalised input times gradient, and of gradient."""

from collections.abc import Collection
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from quintain.core.errors import PrivacyError
from quintain.dp.forms import Dense, PerExample
from quintain.dp.rules.protocol import Use


def group_norm(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> dict[str, PerExample]:
    """``nn.GroupNorm``."""
    norm = cast(nn.GroupNorm, layer)
    return _folded(a, g, norm.num_groups, norm.eps, names)


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
    a, channels = input.detach(), input.shape[1]
    output = F.group_norm(input, channels, norm.weight.detach(), norm.bias.detach(), norm.eps)
    output = output if output.requires_grad else output + use.needs.sum()
    version = a._version

    def arrived(g: Tensor) -> None:
        if a._version != version:
            raise PrivacyError(f"the input of a {type(norm).__name__} was changed in place; expected it left alone until backward()")
        use.note(len(g), g, lambda: _folded(a, g, channels, norm.eps, use.names))

    output.register_hook(arrived)
    return output


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


def _folded(a: Tensor, g: Tensor, groups: int, eps: float, names: Collection[str]) -> dict[str, PerExample]:
    """One backward call on the batch folded into the channels, with as many groups more."""
    batch, channels = a.shape[:2]
    size = a[0, 0].numel()
    a, g = a.contiguous(), g.contiguous()
    _, mean, scale = torch.ops.aten.native_group_norm(a, None, None, batch, channels, size, groups, eps)
    whole = [x.view(1, -1, size) for x in (g, a)] + [x.view(1, -1) for x in (mean, scale)]
    wanted = [False, "weight" in names, "bias" in names]
    found = torch.ops.aten.native_group_norm_backward(
        *whole, a.new_ones(batch * channels), 1, batch * channels, size, batch * groups, wanted
    )
    return {name: Dense(rows.view(batch, channels)) for name, rows in zip(("weight", "bias"), found[1:], strict=True) if name in names}
