"""Operators of ONNX that put, cut or merge the numbers of each example: one function for each."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintain.models.onnx_net.node import ConvertedNode, Node


def flatten(node: Node) -> ConvertedNode:
    """One row an example."""
    node.require("axis", 1, 1 - node.value(0).ndim)
    return ConvertedNode(nn.Flatten())


def reshape(node: Node) -> ConvertedNode:
    """Another shape of each example; the first size is that of the batch."""
    sizes, value = node.numbers(1, "shape"), node.value(0)
    if not sizes or node.settings.get("allowzero"):
        raise node.refuse(f"takes the shape {sizes}", "sizes behind that of the batch")
    if len(sizes) < 2 or sizes[0] not in (-1, 0, 1):
        raise node.refuse(f"takes the shape {sizes}", "-1, 0 or 1 first, for the batch, and sizes behind it")
    kept = [value.shape[at] if size == 0 else size for at, size in enumerate(sizes[1:], 1)]
    if -1 in kept:
        known = int(np.prod([size for size in kept if size != -1]))
        kept[kept.index(-1)] = value[0].numel() // max(known, 1)
    if int(np.prod(kept)) != value[0].numel():
        raise node.refuse(f"takes the shape {sizes} of examples {tuple(value.shape[1:])}", "as many numbers")
    return ConvertedNode(function=_of_each, settings=tuple(kept))


def _of_each(value: Tensor, *sizes: int) -> Tensor:
    return value.reshape(value.shape[0], *sizes)


def transpose(node: Node) -> ConvertedNode:
    """Dimensions in another order, the examples' first."""
    order = list(node.settings.get("perm", range(node.value(0).ndim)[::-1]))
    if order[:1] != [0]:
        raise node.refuse(f"puts dimensions in the order {order}", "the examples' dimension, 0, first")
    return ConvertedNode(function=torch.permute, settings=(tuple(order),))


def squeeze(node: Node) -> ConvertedNode:
    """Dimensions of one number left out."""
    return _dimensions(node, node.numbers(1, "axes"), torch.squeeze, descending=True)


def unsqueeze(node: Node) -> ConvertedNode:
    """Dimensions of one number put in."""
    return _dimensions(node, node.numbers(1, "axes"), torch.unsqueeze, descending=False)


def _dimensions(
    node: Node, axes: list[int] | None, function: Callable[..., Tensor], *, descending: bool
) -> ConvertedNode:
    ndim = node.value(0).ndim + (0 if descending else len(axes or ()))
    places = sorted((axis % ndim for axis in axes or (0,)), reverse=descending)
    if 0 in places:
        raise node.refuse(f"has the axes {axes}", "axes behind the examples'")
    return ConvertedNode(function=_one_by_one, settings=(function, tuple(places)))


def _one_by_one(value: Tensor, function: Callable[..., Tensor], places: Sequence[int]) -> Tensor:
    for place in places:
        value = function(value, place)
    return value


def concat(node: Node) -> ConvertedNode:
    """Values behind each other along a dimension of the examples."""
    axis = int(node.settings["axis"]) % node.value(0).ndim
    if not axis:
        raise node.refuse("puts examples behind each other", "another axis than 0")
    return ConvertedNode(function=_cat, settings=(axis,), inputs=tuple(range(len(node.inputs))))


def _cat(*given: Any) -> Tensor:
    return torch.cat(given[:-1], given[-1])


def pad(node: Node) -> ConvertedNode:
    """A constant round the values of each example."""
    node.require("mode", "constant")
    pads, value = node.numbers(1, "pads"), node.constant(2, "value")
    if node.constant(3) is not None or not pads:
        raise node.refuse("names axes, or no pads", "pads of all dimensions")
    before, behind = pads[: len(pads) // 2], pads[len(pads) // 2 :]
    if before[0] or behind[0]:
        raise node.refuse("puts examples round the batch", "no pads of dimension 0")
    sides = [side for pair in zip(before[:0:-1], behind[:0:-1], strict=True) for side in pair]
    return ConvertedNode(
        function=_pad, settings=(tuple(sides), 0.0 if value is None else float(value.reshape(-1)[0]))
    )


def _pad(value: Tensor, sides: tuple[int, ...], number: float) -> Tensor:
    return F.pad(value, sides, "constant", number)


def slice_(node: Node) -> ConvertedNode:
    """Parts of each example."""
    starts, ends = node.numbers(1, "starts") or [], node.numbers(2, "ends") or []
    axes = node.numbers(3, "axes") or list(range(len(starts)))
    steps, value = node.numbers(4) or [1] * len(starts), node.value(0)
    parts = [slice(None)] * value.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = value.shape[axis]
        if step < 1 or axis % value.ndim == 0:
            raise node.refuse(f"cuts axis {axis} in steps of {step}", "an axis behind the examples', forward")
        first, last, _ = slice(start, end).indices(size)
        parts[axis % value.ndim] = slice(first, last, step)
    return ConvertedNode(function=operator.getitem, settings=(tuple(parts),))


def gather(node: Node) -> ConvertedNode:
    """One place along a dimension of the examples."""
    index, ndim = node.constant(1), node.value(0).ndim
    axis = int(node.settings.get("axis", 0)) % ndim
    if index is None or index.ndim or not axis:
        raise node.refuse("takes several places, or examples", "one number along another axis than 0")
    parts = (*[slice(None)] * axis, int(index))
    return ConvertedNode(function=operator.getitem, settings=(parts,))
