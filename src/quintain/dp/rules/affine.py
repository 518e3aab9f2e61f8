"""Linear layers and convolutions."""

import math
from collections.abc import Collection
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from quintain.dp import forms
from quintain.dp.forms import Dense, Outer, PerExample, cleared, pieces, square


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


def convolution(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> dict[str, PerExample]:
    """``nn.Conv1d`` to ``nn.Conv3d``, any stride, padding, dilation and groups.

    One backward call on the batch folded into the channels, with as many groups more, gives the weight gradients of all examples.
    """
    conv = cast(_ConvNd, layer)
    found: dict[str, PerExample] = {}
    if "weight" in names:
        a, padding = _padded(conv, a)
        whole = Filters(conv, padding, a, g)
        found["weight"] = Dense(whole.dense()) if len(a) * conv.weight.numel() <= forms.KEPT else whole
    if "bias" in names:
        found["bias"] = Dense(g.flatten(2).sum(2))
    return found


class Filters:
    """Weight gradients of a convolution that are too many to keep.

    Args:
        conv: The layer.
        padding: What is still to be added on both sides of ``a``, by dimension.
        a: Inputs (B, inputs, ...).
        g: Gradients at the outputs (B, outputs, ...).
    """

    def __init__(self, conv: _ConvNd, padding: list[int], a: Tensor, g: Tensor) -> None:
        self.conv, self.padding, self.a, self.g = conv, padding, a, g

    @property
    def shape(self) -> torch.Size:
        return self.conv.weight.shape

    def squared(self) -> Tensor:
        """Raised by what another order of summation over the positions could add."""
        cuts = list(pieces(len(self.a), self.shape.numel()))
        quick = torch.cat([square(self._of(self.a[cut], self.g[cut])) for cut in cuts])
        positions, taps = self.g[0, 0].numel(), math.prod(self.conv.kernel_size)
        return quick + positions * torch.finfo(self.a.dtype).eps * taps * square(self.a) * square(self.g)

    def add_to(self, into: Tensor, weights: Tensor) -> None:
        root = weights.sqrt().to(self.g.dtype).view(-1, *(1 for _ in self.g.shape[1:]))
        into.add_(self._backward(self.a * root, self.g * root, self.conv.weight, self.conv.groups))

    def plus(self, other: PerExample) -> PerExample:
        return Dense(self.dense() + other.dense())

    def without(self, gone: Tensor) -> PerExample:
        return Filters(self.conv, self.padding, cleared(self.a, gone), cleared(self.g, gone))

    def dense(self) -> Tensor:
        return self._of(self.a, self.g)

    def _of(self, a: Tensor, g: Tensor) -> Tensor:
        batch, weight = len(a), self.conv.weight.detach()
        folded = weight.repeat(batch, *(1 for _ in weight.shape[1:]))
        whole = self._backward(a.reshape(1, -1, *a.shape[2:]), g.reshape(1, -1, *g.shape[2:]), folded, batch * self.conv.groups)
        return whole.view(batch, *self.shape)

    def _backward(self, a: Tensor, g: Tensor, weight: Tensor, groups: int) -> Tensor:
        found: Tensor = torch.ops.aten.convolution_backward(
            g,
            a,
            weight,
            None,
            self.conv.stride,
            self.padding,
            self.conv.dilation,
            self.conv.transposed,
            self.conv.output_padding,
            groups,
            [False, True, False],
        )[1]
        return found


def _padded(conv: _ConvNd, a: Tensor) -> tuple[Tensor, list[int]]:
    """The input with all padding that is not the same zeros on both sides, and what is left to add."""
    none = [0] * len(conv.kernel_size)
    if conv.padding == "valid":
        return a, none
    if conv.padding == "same":
        spans = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        sides = [(span // 2, span - span // 2) for span in spans]
    else:
        sides = [(size, size) for size in cast(tuple[int, ...], conv.padding)]
    if conv.padding_mode == "zeros" and all(before == after for before, after in sides):
        return a, [before for before, _ in sides]
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    return F.pad(a, [side for pair in reversed(sides) for side in pair], mode), none
