"""Per-example gradients of convolutions and transposed convolutions in one to three dimensions."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from quintain.core.errors import PrivacyError
from quintain.dp.per_example import cost_model, numerics
from quintain.dp.per_example.grads import DenseGrads, PerExampleGrads
from quintain.dp.per_example.numerics import (
    apply_weights,
    batch_slices,
    in_float64_on_overflow,
    rowwise_dot,
    squared_norms_of_rows,
    zero_rows,
)
from quintain.dp.rules.registry import register_rule


@dataclass(frozen=True, slots=True)
class ConvGeometry:
    """The geometry of a convolution: how its filter moves over the input.

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
    def kernel_numel(self) -> int:
        """Number of positions within the filter."""
        return self.shape[2:].numel()


@register_rule(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def convolution(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> dict[str, PerExampleGrads]:
    """The rule of ``nn.Conv1d`` to ``nn.Conv3d``, with any stride, padding, dilation and groups."""
    conv = _check_batched(layer, a)
    grads: dict[str, PerExampleGrads] = {}
    if "weight" in names:
        a, padding = _with_explicit_padding(conv, a)
        grads["weight"] = conv_weight_grads(
            ConvGeometry(conv.weight.shape, conv.stride, padding, conv.dilation, conv.groups), a, g
        )
    if "bias" in names:
        grads["bias"] = DenseGrads(g.flatten(2).sum(2))
    return grads


@register_rule(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
def transposed_convolution(
    layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]
) -> dict[str, PerExampleGrads]:
    """The rule of ``nn.ConvTranspose1d`` to ``nn.ConvTranspose3d``."""
    conv = _check_batched(layer, a)
    grads: dict[str, PerExampleGrads] = {}
    if "bias" in names:
        grads["bias"] = DenseGrads(g.flatten(2).sum(2))
    if "weight" in names:
        # its weight gradient is that of the convolution from output to input: the roles of a and g change;
        # the output gradient is padded to the full extent, so that no row is missing
        sides: list[int] = []
        for axis in reversed(range(len(conv.kernel_size))):
            before = cast(tuple[int, ...], conv.padding)[axis]
            extent = (
                (a.shape[2 + axis] - 1) * conv.stride[axis]
                + conv.dilation[axis] * (conv.kernel_size[axis] - 1)
                + 1
            )
            sides += [before, extent - before - g.shape[2 + axis]]
        no_padding = (0,) * len(conv.kernel_size)
        grads["weight"] = conv_weight_grads(
            ConvGeometry(conv.weight.shape, conv.stride, no_padding, conv.dilation, conv.groups),
            F.pad(g, sides),
            a,
        )
    return grads


def conv_weight_grads(geometry: ConvGeometry, a: Tensor, g: Tensor) -> PerExampleGrads:
    """Weight gradients from inputs (B, inputs, ...) and output gradients (B, outputs, ...).

    Materialized where that takes less memory than the inputs and output gradients.
    """
    grads = ConvGrads(geometry, a, g)
    return DenseGrads(grads.to_dense()) if geometry.shape.numel() <= a[0].numel() + g[0].numel() else grads


class ConvGrads:
    r"""Weight gradients of a convolution, whose norms are computed in the way that is cheapest for the shape.

    With :math:`p_t` the patch at position t, the norm is that of :math:`\sum_t g_t p_t^\top`, materialized
    from patches or by a folded call, or the ghost norm :math:`\sum_{ts} \langle p_t, p_s \rangle \langle g_t,
    g_s \rangle`, for which small maps give the products of patches as sums over taps of products of pixels.
    Each is raised by its worst rounding error.

    Args:
        geometry: Of the convolution.
        a: Inputs (B, inputs, ...).
        g: Gradients at the outputs (B, outputs, ...).

    Source: Rochette et al., 2019, arXiv:1912.06015; Bu et al., 2022, arXiv:2205.10683.
    """

    def __init__(self, geometry: ConvGeometry, a: Tensor, g: Tensor) -> None:
        self.geometry, self.a, self.g = geometry, a, g

    @property
    def shape(self) -> torch.Size:
        return self.geometry.shape

    def squared_norms(self) -> Tensor:
        positions, (outputs, inputs) = self._positions(), self.shape[:2]
        pixels = math.prod(self.a.shape[2:])
        from_pixels = pixels**2 < self.geometry.kernel_numel * positions**2
        terms = inputs * (pixels / positions) ** 2 if from_pixels else inputs * self.geometry.kernel_numel
        # with groups there is no ghost norm here
        if self.geometry.groups > 1 or not cost_model.ghost_norm_is_cheaper(
            positions, self.shape[1:].numel(), outputs, terms
        ):
            built = numerics.concat_or_empty(
                [squared_norms_of_rows(self._materialized_slice(cut)) for cut in self._batch_slices()], self.a
            )
            return (built.sqrt() + self.rounding_bound()).square()

        def inner_products(a: Tensor, g: Tensor) -> Tensor:
            patches = None if from_pixels else _unfold_patches(self.geometry, a)
            # the Gram matrix of patches: directly, or from products of pixels where the map is small
            patch_gram = (
                _patch_gram_from_pixels(self.geometry, a)
                if patches is None
                else torch.bmm(patches, patches.mT)
            )
            return rowwise_dot(patch_gram, torch.bmm(g.mT, g))

        memory = pixels**2 if from_pixels else positions * inputs * self.geometry.kernel_numel
        cuts = batch_slices(len(self.a), memory + 2 * positions**2)
        unrounded = numerics.concat_or_empty(
            [in_float64_on_overflow(inner_products, self.a[cut], self.g[cut].flatten(2)) for cut in cuts],
            self.a,
        )
        rounded = inputs * self.geometry.kernel_numel + outputs + positions
        return (
            unrounded.clamp(min=0)
            + rounded * torch.finfo(self.a.dtype).eps * self._squared_norm_without_cancellation()
        )

    def add_weighted_sum_to(self, into: Tensor, weights: Tensor, accumulate: bool = True) -> None:
        grads = self._weight_backward(*apply_weights(self.a, self.g, weights), 1)
        if accumulate:
            into.add_(grads)
        else:
            into.copy_(grads)

    def plus(self, other: PerExampleGrads) -> PerExampleGrads:
        return DenseGrads(self.to_dense() + other.to_dense())

    def zeroed_where(self, mask: Tensor) -> PerExampleGrads:
        return ConvGrads(self.geometry, zero_rows(self.a, mask), zero_rows(self.g, mask))

    def to_dense(self) -> Tensor:
        dense = self.a.new_empty(len(self.a), *self.shape)
        for cut in self._batch_slices():
            dense[cut] = self._dense_slice(cut)
        return dense

    def rounding_bound(self) -> Tensor:
        return (
            self._positions()
            * torch.finfo(self.a.dtype).eps
            * self._squared_norm_without_cancellation().sqrt()
        )

    def _squared_norm_without_cancellation(self) -> Tensor:
        """Upper bound on the SQUARE of the norm that there would be if no positions cancelled."""
        # (sum_t |p_t| |g_t|)^2 <= sum |p_t|^2 sum |g_t|^2 <= taps |a|^2 |g|^2: each pixel is in a patch once
        # a tap
        return self.geometry.kernel_numel * squared_norms_of_rows(self.a) * squared_norms_of_rows(self.g)

    def _positions(self) -> int:
        return math.prod(self.g.shape[2:])

    def _uses_patches(self) -> bool:
        return self.geometry.groups == 1 and cost_model.patches_are_cheaper(
            self._positions(), self.shape[1], self.geometry.kernel_numel
        )

    def _batch_slices(self) -> Iterable[slice]:
        patches = self._positions() * self.shape[1:].numel() if self._uses_patches() else self.a[0].numel()
        return batch_slices(len(self.a), self.shape.numel() + patches)

    def _dense_slice(self, cut: slice) -> Tensor:
        """The gradients of a slice of the batch, in the shape of the weight."""
        built = self._materialized_slice(cut)
        return (
            built.unflatten(2, (*self.shape[2:], self.shape[1])).movedim(-1, 2)
            if self._uses_patches()
            else built
        )

    def _materialized_slice(self, cut: slice) -> Tensor:
        """Return gradients (B, outputs, taps x inputs) of a slice of the batch, by patches or folded."""
        if self._uses_patches():
            return torch.bmm(self.g[cut].flatten(2), _unfold_patches(self.geometry, self.a[cut]))
        # examples as groups: one backward call on a batch of one gives every example's gradient
        a, g = self.a[cut], self.g[cut]
        return self._weight_backward(
            a.reshape(1, -1, *a.shape[2:]), g.reshape(1, -1, *g.shape[2:]), len(a)
        ).view(len(a), *self.shape)

    def _weight_backward(self, a: Tensor, g: Tensor, folded_examples: int) -> Tensor:
        """The weight gradient by torch's own backward, which reads only the shape of the weight."""
        geometry, no_padding = self.geometry, [0] * len(self.geometry.stride)
        weight = a.new_empty(folded_examples * self.shape[0], *self.shape[1:])
        # the last entry: only the gradient of the weight is computed
        settings = (
            geometry.stride,
            geometry.padding,
            geometry.dilation,
            False,
            no_padding,
            folded_examples * geometry.groups,
            [False, True, False],
        )
        grads: Tensor = torch.ops.aten.convolution_backward(g, a, weight, None, *settings)[1]
        return grads


def _check_batched(layer: nn.Module, a: Tensor) -> _ConvNd:
    conv = cast(_ConvNd, layer)
    if a.dim() != len(conv.kernel_size) + 2:
        raise PrivacyError(
            f"a {type(conv).__name__} got an input of shape {tuple(a.shape)}; expected "
            f"{len(conv.kernel_size) + 2} dimensions, batch first"
        )
    return conv


def _pad(geometry: ConvGeometry, a: Tensor) -> Tensor:
    return F.pad(a, [side for size in reversed(geometry.padding) for side in (size, size)])


def _patch_gram_from_pixels(geometry: ConvGeometry, a: Tensor) -> Tensor:
    """The Gram matrix of patches, (B, positions, positions), from products of pixels."""
    # <p_t, p_s> = sum over taps of <x[t + tap], x[s + tap]>: sums along one axis after the other
    sizes, x = a.shape[2:], a.flatten(2)
    gram = torch.bmm(x.mT, x).view(-1, *sizes, *sizes)
    for axis in range(len(sizes)):
        gram = _sum_over_taps(geometry, gram, axis, len(sizes))
    return gram.flatten(1, len(sizes)).flatten(2)


def _sum_over_taps(geometry: ConvGeometry, products: Tensor, axis: int, axes: int) -> Tensor:
    """Return products of pixels (B, *sizes, *sizes), summed over the taps along one axis.

    That axis then has positions.
    """
    size, stride, padding, dilation = (
        products.shape[1 + axis],
        geometry.stride[axis],
        geometry.padding[axis],
        geometry.dilation[axis],
    )
    extent = dilation * (geometry.shape[2 + axis] - 1)
    positions = (size + 2 * padding - extent - 1) // stride + 1
    shape = list(products.shape)
    shape[1 + axis] = shape[1 + axis + axes] = positions
    summed = products.new_zeros(shape)
    for offset in range(-padding, extent - padding + 1, dilation):
        # the positions whose pixel at this tap is within the map, and these pixels
        first, last = max(0, math.ceil(-offset / stride)), min(positions - 1, (size - 1 - offset) // stride)
        if first <= last:
            pixels = slice(first * stride + offset, last * stride + offset + 1, stride)
            summed[_same_slice_twice(slice(first, last + 1), axis, axes)] += products[
                _same_slice_twice(pixels, axis, axes)
            ]
    return summed


def _same_slice_twice(cut: slice, axis: int, axes: int) -> tuple[slice, ...]:
    """The same slice of an axis on both sides of a Gram tensor."""
    others = (slice(None),) * axis
    return (slice(None), *others, cut, *(slice(None),) * (axes - axis - 1), *others, cut)


def _unfold_patches(geometry: ConvGeometry, a: Tensor) -> Tensor:
    """The patch at each position (im2col), channels last: (B, positions, taps x inputs)."""
    # channels last, so that taps and channels flatten without a copy
    kernel = geometry.shape[2:]
    x = _pad(geometry, a).movedim(1, -1)
    x = x if geometry.kernel_numel == 1 else x.contiguous()
    for axis, (size, stride, dilation) in enumerate(
        zip(kernel, geometry.stride, geometry.dilation, strict=True), 1
    ):
        x = x.unfold(axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    return x.movedim(len(kernel) + 1, -1).flatten(len(kernel) + 1).flatten(1, len(kernel))


def _with_explicit_padding(conv: _ConvNd, a: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """The input with unequal or non-zero padding applied, and the padding that the convolution still adds."""
    no_padding = (0,) * len(conv.kernel_size)
    if conv.padding == "valid":
        return a, no_padding
    if conv.padding == "same":  # the odd pixel comes last, as torch does
        spans = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        sides = [(span // 2, span - span // 2) for span in spans]
    else:
        sides = [(size, size) for size in cast(tuple[int, ...], conv.padding)]
    if conv.padding_mode == "zeros" and all(before == after for before, after in sides):
        return a, tuple(before for before, _ in sides)
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    return F.pad(a, [side for pair in reversed(sides) for side in pair], mode), no_padding
