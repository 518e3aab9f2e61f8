"""Operators of ONNX as torch's layers and functions: one function and one line of the table for each."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from quintain.core.errors import ModelError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Node:
    """One operator of a file.

    Args:
        kind: Its name in ONNX.
        label: What messages call it.
        settings: Its attributes.
        inputs: What it is given: a constant, or the value for an example of zeros (1, *S); None for none.
        opset: Version of the operator set.
    """

    kind: str
    label: str
    settings: dict[str, Any]
    inputs: tuple[Array | Tensor | None, ...]
    opset: int

    def refuse(self, what: str, expected: str) -> ModelError:
        """Return the error that names the operator and what to do."""
        return ModelError(
            f"{self.label} ({self.kind}) {what}; expected {expected}. Export the net anew, write it as a "
            "torch.nn.Module (--model net.py:make), or certify by answers alone (--certifier smoothing)"
        )

    def value(self, at: int) -> Tensor:
        """Return the computed value that it is given at a position."""
        found = self.inputs[at] if at < len(self.inputs) else None
        if not isinstance(found, Tensor):
            raise self.refuse(f"has no computed value at input {at}", "one there")
        return found

    def constant(self, at: int, name: str = "") -> Array | None:
        """Return the constant at a position, None where there is none; of an attribute where it was one."""
        if at < len(self.inputs) and self.inputs[at] is not None:
            found = self.inputs[at]
            if isinstance(found, Tensor):
                raise self.refuse(f"computes its input {at}", "a constant there")
            return found
        return np.asarray(self.settings[name]) if name in self.settings else None

    def number(self, name: str, default: float) -> float:
        """Return an attribute that is a number: float32 in every file, and its default in ONNX, too."""
        return float(np.float32(self.settings.get(name, default)))

    def numbers(self, at: int, name: str = "") -> list[int] | None:
        """Return whole numbers of a constant or an attribute, None where there are none."""
        found = self.constant(at, name)
        return None if found is None else [int(number) for number in found.reshape(-1)]

    def require(self, name: str, *allowed: Any) -> None:
        """Refuse an attribute of another value than these.

        Raises:
            ModelError: If it has one.
        """
        value = self.settings.get(name, allowed[0])
        if value not in allowed:
            raise self.refuse(f"has {name} = {value}", " or ".join(map(str, allowed)))


@dataclass(frozen=True, slots=True)
class Made:
    """What an operator becomes: a layer, or a function of some of its inputs and further settings."""

    layer: nn.Module | None = None
    function: Callable[..., Tensor] | None = None
    settings: tuple[Any, ...] = ()
    inputs: tuple[int, ...] = (0,)


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.array(array))


def _parameter(array: Array) -> nn.Parameter:
    return nn.Parameter(_tensor(array), requires_grad=False)


def gemm(node: Node) -> Made:
    """``x W + b``, scaled by 1."""
    node.require("alpha", 1.0)
    node.require("beta", 1.0)
    node.require("transA", 0)
    weight = node.constant(1)
    if weight is None:
        raise node.refuse("has no weight", "one")
    return Made(_linear(weight if node.settings.get("transB") else weight.T, node.constant(2), node))


def matmul(node: Node) -> Made:
    """``x W`` with a constant behind."""
    weight = node.constant(1)
    if weight is None or weight.ndim != 2:
        raise node.refuse("multiplies by something else than a matrix", "a constant matrix behind the value")
    return Made(_linear(weight.T, None, node))


def _linear(weight: Array, bias: Array | None, node: Node) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = _parameter(np.ascontiguousarray(weight))
    if bias is not None:
        if bias.size not in (1, len(weight)) or (bias.ndim > 1 and bias.size != bias.shape[-1]):
            raise node.refuse(f"has a bias of shape {bias.shape}", f"({len(weight)},)")
        layer.bias = _parameter(np.broadcast_to(bias.reshape(-1), (len(weight),)))
    return layer


def _sides(node: Node, dims: int) -> tuple[list[int], list[int]]:
    """Return padding before and behind each dimension."""
    node.require("auto_pad", "NOTSET", "VALID")
    pads = list(node.settings.get("pads", [0] * (2 * dims)))
    return pads[:dims], pads[dims:]


def _filters(node: Node) -> tuple[Array, Array | None, dict[str, Any], int]:
    weight, bias = node.constant(1), node.constant(2)
    if weight is None or weight.ndim not in (3, 4):
        raise node.refuse("has a weight of another shape", "one or two dimensions of space")
    dims = weight.ndim - 2
    settings = {
        "stride": tuple(node.settings.get("strides", [1] * dims)),
        "dilation": tuple(node.settings.get("dilations", [1] * dims)),
        "groups": int(node.settings.get("group", 1)),
        "bias": bias is not None,
    }
    return weight, bias, settings, dims


def _filled(layer: nn.Module, weight: Array, bias: Array | None) -> nn.Module:
    layer.weight = _parameter(weight)
    if bias is not None:
        layer.bias = _parameter(bias)
    return layer


def convolution(node: Node) -> Made:
    """A convolution; of sides that differ zeros are put round the value first."""
    weight, bias, settings, dims = _filters(node)
    before, behind = _sides(node, dims)
    kind = nn.Conv1d if dims == 1 else nn.Conv2d
    padding: Any = tuple(before) if before == behind else 0
    layer = _filled(
        kind(
            weight.shape[1] * settings["groups"],
            weight.shape[0],
            weight.shape[2:],
            padding=padding,
            **settings,
        ),
        weight,
        bias,
    )
    if before == behind:
        return Made(layer)
    return Made(nn.Sequential(_constant_pad(before, behind, 0.0), layer))


def _constant_pad(before: Sequence[int], behind: Sequence[int], value: float) -> nn.Module:
    sides: Any = tuple(side for pair in zip(reversed(before), reversed(behind), strict=True) for side in pair)
    return nn.ConstantPad1d(sides, value) if len(sides) == 2 else nn.ConstantPad2d(sides, value)


def transposed_convolution(node: Node) -> Made:
    """A transposed convolution of equal sides."""
    weight, bias, settings, dims = _filters(node)
    before, behind = _sides(node, dims)
    padding: Any = tuple(before)
    if before != behind or "output_shape" in node.settings:
        raise node.refuse("has sides that differ, or an output_shape", "equal pads")
    kind = nn.ConvTranspose1d if dims == 1 else nn.ConvTranspose2d
    out = tuple(node.settings.get("output_padding", [0] * dims))
    channels = (weight.shape[0], weight.shape[1] * settings["groups"])
    return Made(
        _filled(
            kind(*channels, weight.shape[2:], padding=padding, output_padding=out, **settings),
            weight,
            bias,
        )
    )


def batch_norm(node: Node) -> Made:
    """Batch normalization by running statistics."""
    node.require("training_mode", 0)
    parts = [node.constant(at) for at in range(1, 5)]
    scale, bias, mean, variance = (part for part in parts if part is not None)
    kind = nn.BatchNorm2d if node.value(0).ndim == 4 else nn.BatchNorm1d
    layer = kind(len(mean), eps=node.number("epsilon", 1e-5))
    layer.weight, layer.bias = _parameter(scale), _parameter(bias)
    layer.running_mean, layer.running_var = _tensor(mean), _tensor(variance)
    return Made(layer.eval())


def _pool_settings(node: Node) -> tuple[Any, dict[str, Any]]:
    size = tuple(node.settings["kernel_shape"])
    before, behind = _sides(node, len(size))
    if len(size) != 2 or before != behind:
        raise node.refuse(
            "pools over other than two dimensions, or with sides that differ", "images, equal pads"
        )
    settings = {
        "stride": tuple(node.settings.get("strides", [1] * len(size))),
        "padding": tuple(before),
        "ceil_mode": bool(node.settings.get("ceil_mode", 0)),
    }
    return size, settings


def max_pool(node: Node) -> Made:
    """The largest value of each window."""
    size, settings = _pool_settings(node)
    dilation = tuple(node.settings.get("dilations", [1] * len(size)))
    return Made(nn.MaxPool2d(size, dilation=dilation, **settings))


def average_pool(node: Node) -> Made:
    """The mean of each window."""
    size, settings = _pool_settings(node)
    node.require("dilations", [1] * len(size))
    if settings["ceil_mode"]:
        raise node.refuse("rounds sizes up", "ceil_mode = 0")
    inside = not node.settings.get("count_include_pad", 0)
    return Made(nn.AvgPool2d(size, count_include_pad=not inside, **settings))


def clip(node: Node) -> Made:
    """A clamp by one or two constants."""
    low, high = (node.constant(at, name) for at, name in ((1, "min"), (2, "max")))
    ends = [None if end is None else float(end.reshape(-1)[0]) for end in (low, high)]
    return Made(function=torch.clamp, settings=tuple(ends))


def dropout(node: Node) -> Made:
    """Nothing: what drops out does so in training alone."""
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        training = node.constant(2)
        if training is not None and bool(training.any()):
            raise node.refuse("drops numbers at random", "training_mode = false")
    return Made(nn.Identity())


def gelu(node: Node) -> Made:
    """GELU in the form that the operator names."""
    return Made(nn.GELU(str(node.settings.get("approximate", "none"))))


def flatten(node: Node) -> Made:
    """One row an example."""
    node.require("axis", 1, 1 - node.value(0).ndim)
    return Made(nn.Flatten())


def reshape(node: Node) -> Made:
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
    return Made(function=_of_each, settings=tuple(kept))


def _of_each(value: Tensor, *sizes: int) -> Tensor:
    return value.reshape(value.shape[0], *sizes)


def transpose(node: Node) -> Made:
    """Dimensions in another order, the examples' first."""
    order = list(node.settings.get("perm", range(node.value(0).ndim)[::-1]))
    if order[:1] != [0]:
        raise node.refuse(f"puts dimensions in the order {order}", "the examples' dimension, 0, first")
    return Made(function=torch.permute, settings=(tuple(order),))


def squeeze(node: Node) -> Made:
    """Dimensions of one number left out."""
    return _dimensions(node, node.numbers(1, "axes"), torch.squeeze, descending=True)


def unsqueeze(node: Node) -> Made:
    """Dimensions of one number put in."""
    return _dimensions(node, node.numbers(1, "axes"), torch.unsqueeze, descending=False)


def _dimensions(
    node: Node, axes: list[int] | None, function: Callable[..., Tensor], *, descending: bool
) -> Made:
    ndim = node.value(0).ndim + (0 if descending else len(axes or ()))
    places = sorted((axis % ndim for axis in axes or (0,)), reverse=descending)
    if 0 in places:
        raise node.refuse(f"has the axes {axes}", "axes behind the examples'")
    return Made(function=_one_by_one, settings=(function, tuple(places)))


def _one_by_one(value: Tensor, function: Callable[..., Tensor], places: Sequence[int]) -> Tensor:
    for place in places:
        value = function(value, place)
    return value


def concat(node: Node) -> Made:
    """Values behind each other along a dimension of the examples."""
    axis = int(node.settings["axis"]) % node.value(0).ndim
    if not axis:
        raise node.refuse("puts examples behind each other", "another axis than 0")
    return Made(function=_cat, settings=(axis,), inputs=tuple(range(len(node.inputs))))


def _cat(*given: Any) -> Tensor:
    return torch.cat(given[:-1], given[-1])


def pad(node: Node) -> Made:
    """A constant round the values of each example."""
    node.require("mode", "constant")
    pads, value = node.numbers(1, "pads"), node.constant(2, "value")
    if node.constant(3) is not None or not pads:
        raise node.refuse("names axes, or no pads", "pads of all dimensions")
    before, behind = pads[: len(pads) // 2], pads[len(pads) // 2 :]
    if before[0] or behind[0]:
        raise node.refuse("puts examples round the batch", "no pads of dimension 0")
    sides = [side for pair in zip(before[:0:-1], behind[:0:-1], strict=True) for side in pair]
    return Made(function=_pad, settings=(tuple(sides), 0.0 if value is None else float(value.reshape(-1)[0])))


def _pad(value: Tensor, sides: tuple[int, ...], number: float) -> Tensor:
    return F.pad(value, sides, "constant", number)


def _reduce(node: Node, function: Callable[..., Tensor]) -> Made:
    axes, ndim = node.numbers(1, "axes"), node.value(0).ndim
    places = tuple(sorted(axis % ndim for axis in axes or (0,)))
    if 0 in places:
        raise node.refuse(f"reduces the axes {axes}", "axes behind the examples'")
    return Made(function=function, settings=(places, bool(node.settings.get("keepdims", 1))))


def softmax(node: Node, function: Callable[..., Tensor]) -> Made:
    """Softmax, or its logarithm, along one axis."""
    ndim = node.value(0).ndim
    axis = int(node.settings.get("axis", -1 if node.opset >= 13 else 1)) % ndim
    if not axis or (node.opset < 13 and axis != ndim - 1):
        raise node.refuse(f"has axis {axis} of {ndim}", "the last one")
    return Made(function=function, settings=(axis,))


def slice_(node: Node) -> Made:
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
    return Made(function=operator.getitem, settings=(tuple(parts),))


def gather(node: Node) -> Made:
    """One place along a dimension of the examples."""
    index, ndim = node.constant(1), node.value(0).ndim
    axis = int(node.settings.get("axis", 0)) % ndim
    if index is None or index.ndim or not axis:
        raise node.refuse("takes several places, or examples", "one number along another axis than 0")
    parts = (*[slice(None)] * axis, int(index))
    return Made(function=operator.getitem, settings=(parts,))


def _arithmetic(function: Callable[..., Tensor]) -> Callable[[Node], Made]:
    def make(node: Node) -> Made:
        for other in node.inputs:
            if not isinstance(other, Tensor) and other is not None:
                ndim = next(value.ndim for value in node.inputs if isinstance(value, Tensor))
                if other.ndim > ndim or (other.ndim == ndim and len(other) != 1):
                    raise node.refuse(f"has a constant of shape {other.shape}", "one for all examples")
        return Made(function=function, inputs=(0, 1))

    return make


def _layer(make: Callable[[Node], nn.Module]) -> Callable[[Node], Made]:
    return lambda node: Made(make(node))


OPERATORS: dict[str, Callable[[Node], Made]] = {
    "Gemm": gemm,
    "MatMul": matmul,
    "Conv": convolution,
    "ConvTranspose": transposed_convolution,
    "BatchNormalization": batch_norm,
    "Relu": _layer(lambda _: nn.ReLU()),
    "LeakyRelu": _layer(lambda node: nn.LeakyReLU(node.number("alpha", 0.01))),
    "Sigmoid": _layer(lambda _: nn.Sigmoid()),
    "Tanh": _layer(lambda _: nn.Tanh()),
    "Gelu": gelu,
    "Clip": clip,
    "Softmax": lambda node: softmax(node, torch.softmax),
    "LogSoftmax": lambda node: softmax(node, torch.log_softmax),
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": _layer(lambda _: nn.AdaptiveAvgPool2d(1)),
    "Flatten": flatten,
    "Reshape": reshape,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Concat": concat,
    "Pad": pad,
    "Slice": slice_,
    "Gather": gather,
    "ReduceMean": lambda node: _reduce(node, torch.mean),
    "ReduceSum": lambda node: _reduce(node, torch.sum),
    "Add": _arithmetic(operator.add),
    "Sub": _arithmetic(operator.sub),
    "Mul": _arithmetic(operator.mul),
    "Div": _arithmetic(operator.truediv),
    "Neg": lambda _: Made(function=operator.neg),
    "Identity": _layer(lambda _: nn.Identity()),
    "Dropout": dropout,
}
"""What an operator of ONNX becomes. One that is not here is refused by its name."""
