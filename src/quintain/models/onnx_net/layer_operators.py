"""Operators of ONNX that are layers with weights or windows: one function for each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quintain.models.onnx_net.node import Array, ConvertedNode, Node


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.array(array))


def _parameter(array: Array) -> nn.Parameter:
    return nn.Parameter(_tensor(array), requires_grad=False)


def gemm(node: Node) -> ConvertedNode:
    """``x W + b``, scaled by 1."""
    node.require("alpha", 1.0)
    node.require("beta", 1.0)
    node.require("transA", 0)
    weight = node.constant(1)
    if weight is None:
        raise node.refuse("has no weight", "one")
    return ConvertedNode(_linear(weight if node.settings.get("transB") else weight.T, node.constant(2), node))


def matmul(node: Node) -> ConvertedNode:
    """``x W`` with a constant behind."""
    weight = node.constant(1)
    if weight is None or weight.ndim != 2:
        raise node.refuse("multiplies by something else than a matrix", "a constant matrix behind the value")
    return ConvertedNode(_linear(weight.T, None, node))


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
    none = [0] * (2 * dims)
    pads = none if node.settings.get("auto_pad") == "VALID" else list(node.settings.get("pads", none))
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


def _set_weights(layer: nn.Module, weight: Array, bias: Array | None) -> nn.Module:
    layer.weight = _parameter(weight)
    if bias is not None:
        layer.bias = _parameter(bias)
    return layer


def convolution(node: Node) -> ConvertedNode:
    """A convolution; of sides that differ zeros are put round the value first."""
    weight, bias, settings, dims = _filters(node)
    before, behind = _sides(node, dims)
    kind = nn.Conv1d if dims == 1 else nn.Conv2d
    padding: Any = tuple(before) if before == behind else 0
    layer = _set_weights(
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
        return ConvertedNode(layer)
    return ConvertedNode(nn.Sequential(_constant_pad(before, behind, 0.0), layer))


def _constant_pad(before: Sequence[int], behind: Sequence[int], value: float) -> nn.Module:
    sides: Any = tuple(side for pair in zip(reversed(before), reversed(behind), strict=True) for side in pair)
    return nn.ConstantPad1d(sides, value) if len(sides) == 2 else nn.ConstantPad2d(sides, value)


def transposed_convolution(node: Node) -> ConvertedNode:
    """A transposed convolution of equal sides."""
    weight, bias, settings, dims = _filters(node)
    before, behind = _sides(node, dims)
    padding: Any = tuple(before)
    if before != behind or "output_shape" in node.settings:
        raise node.refuse("has sides that differ, or an output_shape", "equal pads")
    kind = nn.ConvTranspose1d if dims == 1 else nn.ConvTranspose2d
    out = tuple(node.settings.get("output_padding", [0] * dims))
    channels = (weight.shape[0], weight.shape[1] * settings["groups"])
    return ConvertedNode(
        _set_weights(
            kind(*channels, weight.shape[2:], padding=padding, output_padding=out, **settings),
            weight,
            bias,
        )
    )


def batch_norm(node: Node) -> ConvertedNode:
    """Batch normalization by running statistics."""
    node.require("training_mode", 0)
    parts = [node.constant(at) for at in range(1, 5)]
    scale, bias, mean, variance = (part for part in parts if part is not None)
    kind = nn.BatchNorm2d if node.value(0).ndim == 4 else nn.BatchNorm1d
    layer = kind(len(mean), eps=node.number("epsilon", 1e-5))
    layer.weight, layer.bias = _parameter(scale), _parameter(bias)
    layer.running_mean, layer.running_var = _tensor(mean), _tensor(variance)
    return ConvertedNode(layer.eval())


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


def max_pool(node: Node) -> ConvertedNode:
    """The largest value of each window."""
    size, settings = _pool_settings(node)
    dilation = tuple(node.settings.get("dilations", [1] * len(size)))
    return ConvertedNode(nn.MaxPool2d(size, dilation=dilation, **settings))


def average_pool(node: Node) -> ConvertedNode:
    """The mean of each window."""
    size, settings = _pool_settings(node)
    node.require("dilations", [1] * len(size))
    if settings["ceil_mode"]:
        raise node.refuse("rounds sizes up", "ceil_mode = 0")
    inside = not node.settings.get("count_include_pad", 0)
    return ConvertedNode(nn.AvgPool2d(size, count_include_pad=not inside, **settings))
