"""Convolutions and transposed ones, in one to three dimensions."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from quintain.core.errors import PrivacyError
from quintain.dp.gradients import cost, numbers
from quintain.dp.gradients.forms import Dense, PerExample
from quintain.dp.gradients.numbers import cleared, dots, in_range, pieces, square, weighted


@dataclass(frozen=True, slots=True)
class Window:
    """How a filter moves over an input.

    Args:
        shape: Of the weight: (outputs, inputs / groups, *kernel).
        stride, padding, dilation: By dimension; as much padding on both sides.
        groups: Of channels.
    """

    shape: torch.Size
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def taps(self) -> int:
        """Places of the filter."""
        return self.shape[2:].numel()


def convolution(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> dict[str, PerExample]:
    """``nn.Conv1d`` to ``nn.Conv3d``, any stride, padding, dilation and groups."""
    conv = _batched(layer, a)
    found: dict[str, PerExample] = {}
    if "weight" in names:
        a, padding = _padded(conv, a)
        found["weight"] = weight_gradients(Window(conv.weight.shape, conv.stride, padding, conv.dilation, conv.groups), a, g)
    if "bias" in names:
        found["bias"] = Dense(g.flatten(2).sum(2))
    return found


def transposed_convolution(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> dict[str, PerExample]:
    """``nn.ConvTranspose1d`` to ``nn.ConvTranspose3d``: the convolution from output to input, whose weight it shares."""
    conv = _batched(layer, a)
    found: dict[str, PerExample] = {}
    if "bias" in names:
        found["bias"] = Dense(g.flatten(2).sum(2))
    if "weight" in names:
        sides: list[int] = []
        for axis in reversed(range(len(conv.kernel_size))):
            before = cast(tuple[int, ...], conv.padding)[axis]
            reach = (a.shape[2 + axis] - 1) * conv.stride[axis] + conv.dilation[axis] * (conv.kernel_size[axis] - 1) + 1
            sides += [before, reach - before - g.shape[2 + axis]]
        none = (0,) * len(conv.kernel_size)
        found["weight"] = weight_gradients(Window(conv.weight.shape, conv.stride, none, conv.dilation, conv.groups), F.pad(g, sides), a)
    return found


def weight_gradients(window: Window, a: Tensor, g: Tensor) -> PerExample:
    """From inputs (B, inputs, ...) and the gradients at the outputs (B, outputs, ...): what takes less room, these or those."""
    filters = Filters(window, a, g)
    return Dense(filters.dense()) if window.shape.numel() <= a[0].numel() + g[0].numel() else filters


class Filters:
    r"""Weight gradients of a convolution, whose norms are worked out a few examples at a time, the way that costs least by the shape.

    With :math:`p_t` what the filter sees at position t, the norm is that of :math:`\sum_t g_t p_t^\top`, built from patches or by a folded
    call, or :math:`\sum_{ts} \langle p_t, p_s \rangle \langle g_t, g_s \rangle` (ghost norm), where small maps give the products of
    patches as sums over taps of products of pixels. Each is raised by its worst rounding error.

    Args:
        window: How the filter moves.
        a: Inputs (B, inputs, ...).
        g: Gradients at the outputs (B, outputs, ...).

    Source: Rochette et al., 2019, arXiv:1912.06015; Bu et al., 2022, arXiv:2205.10683.
    """

    def __init__(self, window: Window, a: Tensor, g: Tensor) -> None:
        self.window, self.a, self.g = window, a, g

    @property
    def shape(self) -> torch.Size:
        return self.window.shape

    def squared(self) -> Tensor:
        positions, (outputs, inputs) = self._positions(), self.shape[:2]
        pixels = math.prod(self.a.shape[2:])
        by_pixels = pixels**2 < self.window.taps * positions**2
        terms = inputs * (pixels / positions) ** 2 if by_pixels else inputs * self.window.taps
        if self.window.groups > 1 or not cost.ghost(positions, self.shape[1:].numel(), outputs, terms):
            built = numbers.joined([square(self._built(cut)) for cut in self._cuts()], self.a)
            return (built.sqrt() + self.rounding()).square()

        def products(a: Tensor, g: Tensor) -> Tensor:
            patches = None if by_pixels else _patches(self.window, a)
            seen = _by_pixels(self.window, a) if patches is None else torch.bmm(patches, patches.mT)
            return dots(seen, torch.bmm(g.mT, g))

        room = pixels**2 if by_pixels else positions * inputs * self.window.taps
        cuts = pieces(len(self.a), room + 2 * positions**2)
        quick = numbers.joined([in_range(products, self.a[cut], self.g[cut].flatten(2)) for cut in cuts], self.a)
        rounded = inputs * self.window.taps + outputs + positions
        return quick.clamp(min=0) + rounded * torch.finfo(self.a.dtype).eps * self._reach()

    def add_to(self, into: Tensor, weights: Tensor, beta: int = 1) -> None:
        found = self._backward(*weighted(self.a, self.g, weights), 1)
        if beta:
            into.add_(found)
        else:
            into.copy_(found)

    def plus(self, other: PerExample) -> PerExample:
        return Dense(self.dense() + other.dense())

    def without(self, gone: Tensor) -> PerExample:
        return Filters(self.window, cleared(self.a, gone), cleared(self.g, gone))

    def dense(self) -> Tensor:
        whole = self.a.new_empty(len(self.a), *self.shape)
        for cut in self._cuts():
            whole[cut] = self._of(cut)
        return whole

    def rounding(self) -> Tensor:
        return self._positions() * torch.finfo(self.a.dtype).eps * self._reach().sqrt()

    def _reach(self) -> Tensor:
        """No less than the square of the sum over the positions of their products' norms: each pixel is seen once a tap at most."""
        return self.window.taps * square(self.a) * square(self.g)

    def _positions(self) -> int:
        return math.prod(self.g.shape[2:])

    def _by_patches(self) -> bool:
        return self.window.groups == 1 and cost.patches(self._positions(), self.shape[1], self.window.taps)

    def _cuts(self) -> Iterable[slice]:
        patches = self._positions() * self.shape[1:].numel() if self._by_patches() else self.a[0].numel()
        return pieces(len(self.a), self.shape.numel() + patches)

    def _of(self, cut: slice) -> Tensor:
        """Some of the gradients, in the shape of the weight."""
        built = self._built(cut)
        return built.unflatten(2, (*self.shape[2:], self.shape[1])).movedim(-1, 2) if self._by_patches() else built

    def _built(self, cut: slice) -> Tensor:
        """Some of the gradients, from patches, (B, outputs, taps x inputs), or by one backward call on the batch folded into the channels
        with as many groups more."""
        if self._by_patches():
            return torch.bmm(self.g[cut].flatten(2), _patches(self.window, self.a[cut]))
        a, g = self.a[cut], self.g[cut]
        return self._backward(a.reshape(1, -1, *a.shape[2:]), g.reshape(1, -1, *g.shape[2:]), len(a)).view(len(a), *self.shape)

    def _backward(self, a: Tensor, g: Tensor, fold: int) -> Tensor:
        """Of the weight only the shape is looked at."""
        window, none = self.window, [0] * len(self.window.stride)
        weight = a.new_empty(fold * self.shape[0], *self.shape[1:])
        settings = (window.stride, window.padding, window.dilation, False, none, fold * window.groups, [False, True, False])
        found: Tensor = torch.ops.aten.convolution_backward(g, a, weight, None, *settings)[1]
        return found


def _batched(layer: nn.Module, a: Tensor) -> _ConvNd:
    conv = cast(_ConvNd, layer)
    if a.dim() != len(conv.kernel_size) + 2:
        raise PrivacyError(
            f"a {type(conv).__name__} got an input of shape {tuple(a.shape)}; expected {len(conv.kernel_size) + 2} dimensions, batch first"
        )
    return conv


def _around(window: Window, a: Tensor) -> Tensor:
    return F.pad(a, [side for size in reversed(window.padding) for side in (size, size)])


def _by_pixels(window: Window, a: Tensor) -> Tensor:
    """Inner products of what the filter sees at any two positions, (B, positions, positions)."""
    sizes, x = a.shape[2:], a.flatten(2)
    seen = torch.bmm(x.mT, x).view(-1, *sizes, *sizes)
    for axis in range(len(sizes)):
        seen = _along(window, seen, axis, len(sizes))
    return seen.flatten(1, len(sizes)).flatten(2)


def _along(window: Window, products: Tensor, axis: int, axes: int) -> Tensor:
    """Products of pixels (B, *sizes, *sizes), summed over the taps along one axis: there are then positions, in place of pixels."""
    size, stride, padding, dilation = products.shape[1 + axis], window.stride[axis], window.padding[axis], window.dilation[axis]
    reach = dilation * (window.shape[2 + axis] - 1)
    positions = (size + 2 * padding - reach - 1) // stride + 1
    shape = list(products.shape)
    shape[1 + axis] = shape[1 + axis + axes] = positions
    summed = products.new_zeros(shape)
    for offset in range(-padding, reach - padding + 1, dilation):
        first, last = max(0, math.ceil(-offset / stride)), min(positions - 1, (size - 1 - offset) // stride)
        if first <= last:
            seen = slice(first * stride + offset, last * stride + offset + 1, stride)
            summed[_both(slice(first, last + 1), axis, axes)] += products[_both(seen, axis, axes)]
    return summed


def _both(cut: slice, axis: int, axes: int) -> tuple[slice, ...]:
    """The same cut of an axis in either of two positions."""
    others = (slice(None),) * axis
    return (slice(None), *others, cut, *(slice(None),) * (axes - axis - 1), *others, cut)


def _patches(window: Window, a: Tensor) -> Tensor:
    """What the filter sees at each position, channels last: (B, positions, taps x inputs)."""
    kernel = window.shape[2:]
    x = _around(window, a).movedim(1, -1)
    x = x if window.taps == 1 else x.contiguous()
    for axis, (size, stride, dilation) in enumerate(zip(kernel, window.stride, window.dilation, strict=True), 1):
        x = x.unfold(axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    return x.movedim(len(kernel) + 1, -1).flatten(len(kernel) + 1).flatten(1, len(kernel))


def _padded(conv: _ConvNd, a: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """The input with all padding that is not the same zeros on both sides, and what is left to add."""
    none = (0,) * len(conv.kernel_size)
    if conv.padding == "valid":
        return a, none
    if conv.padding == "same":
        spans = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        sides = [(span // 2, span - span // 2) for span in spans]
    else:
        sides = [(size, size) for size in cast(tuple[int, ...], conv.padding)]
    if conv.padding_mode == "zeros" and all(before == after for before, after in sides):
        return a, tuple(before for before, _ in sides)
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    return F.pad(a, [side for pair in reversed(sides) for side in pair], mode), none
