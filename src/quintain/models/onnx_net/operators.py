"""Operators of ONNX as torch's layers and functions: one line of the table for each, and the plain ones."""

import operator
from collections.abc import Callable

import torch
from torch import Tensor, nn

from quintain.models.onnx_net.layer_operators import (
    average_pool,
    batch_norm,
    convolution,
    gemm,
    matmul,
    max_pool,
    transposed_convolution,
)
from quintain.models.onnx_net.node import ConvertedNode, Node
from quintain.models.onnx_net.shape_operators import (
    concat,
    flatten,
    gather,
    pad,
    reshape,
    slice_,
    squeeze,
    transpose,
    unsqueeze,
)


def clip(node: Node) -> ConvertedNode:
    """A clamp by one or two constants."""
    low, high = (node.constant(at, name) for at, name in ((1, "min"), (2, "max")))
    ends = [None if end is None else float(end.reshape(-1)[0]) for end in (low, high)]
    return ConvertedNode(function=torch.clamp, settings=tuple(ends))


def dropout(node: Node) -> ConvertedNode:
    """Nothing: what drops out does so in training alone."""
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        training = node.constant(2)
        if training is not None and bool(training.any()):
            raise node.refuse("drops numbers at random", "training_mode = false")
    return ConvertedNode(nn.Identity())


def gelu(node: Node) -> ConvertedNode:
    """GELU in the form that the operator names."""
    return ConvertedNode(nn.GELU(str(node.settings.get("approximate", "none"))))


def global_average_pool(node: Node) -> ConvertedNode:
    """The mean of each channel of an image."""
    if node.value(0).ndim != 4:
        raise node.refuse(f"takes {tuple(node.value(0).shape)}", "images, (1, C, H, W)")
    return ConvertedNode(nn.AdaptiveAvgPool2d(1))


def _reduce(node: Node, function: Callable[..., Tensor]) -> ConvertedNode:
    axes, ndim = node.numbers(1, "axes"), node.value(0).ndim
    places = tuple(sorted(axis % ndim for axis in axes or (0,)))
    if 0 in places:
        raise node.refuse(f"reduces the axes {axes}", "axes behind the examples'")
    return ConvertedNode(function=function, settings=(places, bool(node.settings.get("keepdims", 1))))


def softmax(node: Node, function: Callable[..., Tensor]) -> ConvertedNode:
    """Softmax, or its logarithm, along one axis."""
    ndim = node.value(0).ndim
    axis = int(node.settings.get("axis", -1 if node.opset >= 13 else 1)) % ndim
    if not axis or (node.opset < 13 and axis != ndim - 1):
        raise node.refuse(f"has axis {axis} of {ndim}", "the last one")
    return ConvertedNode(function=function, settings=(axis,))


def _arithmetic(function: Callable[..., Tensor]) -> Callable[[Node], ConvertedNode]:
    def make(node: Node) -> ConvertedNode:
        values = [value for value in node.inputs if isinstance(value, Tensor)]
        ndim = values[0].ndim
        if any(value.ndim != ndim for value in values):
            shapes = " and ".join(str(tuple(value.shape)) for value in values)
            raise node.refuse(f"takes values of {shapes}", "as many dimensions, the examples' first")
        for constant in node.inputs:
            if isinstance(constant, Tensor) or constant is None:
                continue
            if constant.ndim > ndim or (constant.ndim == ndim and len(constant) != 1):
                raise node.refuse(f"has a constant of shape {constant.shape}", "one for all examples")
        return ConvertedNode(function=function, inputs=(0, 1))

    return make


def _layer(make: Callable[[Node], nn.Module]) -> Callable[[Node], ConvertedNode]:
    return lambda node: ConvertedNode(make(node))


OPERATORS: dict[str, Callable[[Node], ConvertedNode]] = {
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
    "GlobalAveragePool": global_average_pool,
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
    "Neg": lambda _: ConvertedNode(function=operator.neg),
    "Identity": _layer(lambda _: nn.Identity()),
    "Dropout": dropout,
}
"""What an operator of ONNX becomes. One that is not here is refused by its name."""
