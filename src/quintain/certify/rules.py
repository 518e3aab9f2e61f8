"""One bound rule a layer type: adding a layer is one function and one line of the table.

Each rule takes the layer, the span of its input and the arithmetic, and returns the span of its output. Spans hold what the *deployed*
layer may return, its own rounding included. A table is by exact type: a subclass may compute something else.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintain.certify.arithmetic import Arithmetic
from quintain.certify.span import Span
from quintain.core.errors import ModelError
from quintain.models.nets import Normalise

Rule = Callable[[Any, Span, Arithmetic], Span]


def cast(value: Tensor | None, span: Span) -> Tensor | None:
    """A parameter in the type of the bounds."""
    return None if value is None else value.to(span.center.dtype)


def dense(layer: nn.Linear, span: Span, arithmetic: Arithmetic) -> Span:
    """Bounds of a linear layer."""
    return span.linear(F.linear, layer.weight.to(span.center.dtype), cast(layer.bias, span), arithmetic, layer.weight.shape[1] + 1)


def convolution(layer: nn.Conv2d, span: Span, arithmetic: Arithmetic) -> Span:
    """Bounds of a convolution with zero padding; the norm of a row at the border counts the taps inside only."""
    if layer.padding_mode != "zeros":
        raise ModelError(f"Conv2d with padding_mode={layer.padding_mode!r} has no bound rule; padding_mode='zeros' has")

    def f(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(h, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)

    terms = layer.weight[0].numel() + 1
    return span.linear(f, layer.weight.to(span.center.dtype), cast(layer.bias, span), arithmetic, terms)


def relu(_layer: nn.Module, span: Span, arithmetic: Arithmetic) -> Span:
    """Bounds of max(h, 0), which is exact in floating point."""
    return span.monotone(F.relu, arithmetic)


def leaky_relu(layer: nn.LeakyReLU, span: Span, arithmetic: Arithmetic) -> Span:
    """Bounds of max(h, slope h)."""
    slope = arithmetic.number(layer.negative_slope, "LeakyReLU")
    if not 0 <= slope <= 1:
        raise ModelError(f"LeakyReLU with slope {layer.negative_slope} has no bound rule; slopes in [0, 1] have")
    return span.monotone(lambda h: F.leaky_relu(h, slope), arithmetic, terms=2)


def hardtanh(layer: nn.Hardtanh, span: Span, arithmetic: Arithmetic) -> Span:
    """Bounds of min(max(h, a), b), of which ReLU6 is one; a maximum and a minimum are exact in floating point."""
    low, high = (arithmetic.number(value, type(layer).__name__) for value in (layer.min_val, layer.max_val))
    return span.monotone(lambda h: h.clamp(low, high), arithmetic)


def max_pool(layer: nn.MaxPool2d, span: Span, arithmetic: Arithmetic) -> Span:
    """Bounds of a maximum: the maxima of the ends."""

    if layer.return_indices:
        raise ModelError("MaxPool2d with return_indices has no bound rule; leave it out")

    def f(h: Tensor) -> Tensor:
        return F.max_pool2d(h, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)

    box = Span.between(f(span.low), f(span.high))
    largest = f(span.magnitude)
    return box.widened(arithmetic.slack(0, largest, largest)) if arithmetic.rounds else box


def average_pool(layer: nn.AvgPool2d | nn.AdaptiveAvgPool2d, span: Span, arithmetic: Arithmetic) -> Span:
    """Bounds of a mean, which is linear with weights that are not negative."""
    if getattr(layer, "divisor_override", None) is not None:
        raise ModelError("AvgPool2d with divisor_override has no bound rule; leave it out and scale with a layer that has one")
    terms = span.center.shape[-2:].numel() + 1
    window = terms if isinstance(layer, nn.AdaptiveAvgPool2d) else max(terms, math.prod(_pair(layer.kernel_size)))
    mean = layer(span.magnitude)
    slack = arithmetic.slack(terms, mean * window, mean * 0) / terms
    return Span(layer(span.center), layer(span.radius) + slack)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def batch_norm(layer: nn.BatchNorm1d | nn.BatchNorm2d, span: Span, arithmetic: Arithmetic) -> Span:
    """Bounds of batch normalisation in evaluation mode: a scale and a shift, folded in the type of the bounds."""
    if layer.training or layer.running_mean is None or layer.running_var is None:
        raise ModelError("BatchNorm has bounds in evaluation mode only, with running statistics: call net.eval()")
    shape = (-1, *[1] * (span.center.ndim - 2))
    if bool((layer.running_var < 0).any()):
        raise ModelError("BatchNorm has a negative running variance, whose sum with eps devices round otherwise; expected 0 or more")
    mean, variance = (value.to(span.center.dtype).reshape(shape) for value in (layer.running_mean, layer.running_var))
    variance = variance + arithmetic.number(layer.eps, "BatchNorm")
    inverse = variance.rsqrt()
    own, bias = cast(layer.weight, span), cast(layer.bias, span)
    weight = torch.ones_like(inverse) if own is None else own.reshape(shape)
    scale = inverse * weight
    moved = span.affine(scale, -mean * scale, arithmetic, terms=12)
    if arithmetic.rounds:
        moved = moved.widened(_folded(span.magnitude + mean.abs(), variance, weight, arithmetic))
    return moved if bias is None else moved.affine(torch.ones_like(scale), bias.reshape(shape), arithmetic, terms=2)


def _folded(distance: Tensor, variance: Tensor, weight: Tensor, arithmetic: Arithmetic) -> Tensor:
    r"""What (h - mean) / sqrt(variance) * weight loses below the smallest normal number t, whichever two are multiplied first.

    A loss of t in one factor is multiplied by the others: by |h - mean|, by the inverse deviation, by the weight or by their product.
    Infinite where a partial product may overflow, or where the variance is so small that t is no rounding of it.
    """
    inverse, t = variance.rsqrt(), arithmetic.tiny
    scale = inverse * weight.abs()
    reach = distance * torch.maximum(inverse, scale).clamp(min=1)
    regular = (
        (reach < arithmetic.huge / 2) & (scale < arithmetic.huge / 2) & (variance * arithmetic.unit > t) & (variance < arithmetic.huge / 2)
    )
    return torch.where(regular, 8 * t * ((1 + inverse) * (1 + distance) + weight.abs() + scale), torch.inf)


def normalise(layer: Normalise, span: Span, arithmetic: Arithmetic) -> Span:
    """Bounds of (h - mean) / std."""
    shape = (-1, *[1] * (span.center.ndim - 2))
    mean, std = (value.to(span.center.dtype).view(shape) for value in (layer.mean, layer.std))
    centred = span.affine(torch.ones_like(mean), -mean, arithmetic, terms=1)
    return centred.affine(arithmetic.inverse(std), torch.zeros_like(std), arithmetic, terms=1)


def zero_pad(layer: nn.ZeroPad2d, span: Span, _arithmetic: Arithmetic) -> Span:
    """Zeros around each picture, or a border cut off it: the same values at other places."""
    if layer.value != 0:
        raise ModelError(f"ZeroPad2d with value {layer.value} has no bound rule; it pads with zeros unless that was changed")
    return span.reshape(lambda h: F.pad(h, layer.padding))


def unflatten(layer: nn.Unflatten, span: Span, _arithmetic: Arithmetic) -> Span:
    """Another shape of the same values, in which one dimension of an example becomes several."""
    if not isinstance(layer.dim, int) or layer.dim % span.center.ndim == 0:
        raise ModelError(f"Unflatten of dimension {layer.dim!r} has no bound rule; a number that is not the examples' dimension, 0, has")
    return span.reshape(layer)


def flatten(layer: nn.Flatten, span: Span, _arithmetic: Arithmetic) -> Span:
    """Another shape of the same values."""
    return span.reshape(layer)


def identity(layer: nn.Module, span: Span, _arithmetic: Arithmetic) -> Span:
    """The same values; dropout is one in evaluation mode only."""
    if layer.training and getattr(layer, "p", 0) > 0:
        raise ModelError(f"{type(layer).__name__} has bounds in evaluation mode only: call net.eval()")
    return span


POINTWISE = (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.LeakyReLU, nn.Identity, nn.Dropout, nn.Dropout2d)
"""Layers that look at each number alone."""

LAYERS: dict[type[nn.Module], Rule] = {
    nn.Linear: dense,
    nn.Conv2d: convolution,
    nn.ReLU: relu,
    nn.LeakyReLU: leaky_relu,
    nn.ReLU6: hardtanh,
    nn.Hardtanh: hardtanh,
    nn.ZeroPad2d: zero_pad,
    nn.MaxPool2d: max_pool,
    nn.AvgPool2d: average_pool,
    nn.AdaptiveAvgPool2d: average_pool,
    nn.BatchNorm1d: batch_norm,
    nn.BatchNorm2d: batch_norm,
    Normalise: normalise,
    nn.Flatten: flatten,
    nn.Unflatten: unflatten,
    nn.Identity: identity,
    nn.Dropout: identity,
    nn.Dropout2d: identity,
}


RANKS: dict[type[nn.Module], tuple[int, ...]] = {
    nn.Conv2d: (4,),
    nn.ZeroPad2d: (4,),
    nn.MaxPool2d: (4,),
    nn.AvgPool2d: (4,),
    nn.AdaptiveAvgPool2d: (4,),
    nn.BatchNorm2d: (4,),
    nn.BatchNorm1d: (2, 3),
}
"""How many dimensions a layer takes examples in; with fewer, torch takes the examples for the channels of one. Others take two or more."""


def bound_layer(layer: nn.Module, span: Span, arithmetic: Arithmetic, name: str) -> Span:
    """The span of a layer's output.

    Raises:
        ModelError: If its type has no rule, something may change what it computes, or it would mix examples.
    """
    kind = type(layer)
    if kind not in LAYERS:
        known = ", ".join(sorted(layer.__name__ for layer in LAYERS))
        raise ModelError(f"layer {name!r} is a {kind.__name__}, which has no bound rule; layers with one: {known}")
    require_plain(layer, name, arithmetic)
    rank = span.center.ndim
    if rank not in RANKS[kind] if kind in RANKS else rank < 2 and kind not in POINTWISE:
        expected = " or ".join(map(str, RANKS.get(kind, ("2 or more",))))
        raise ModelError(f"layer {name!r} ({kind.__name__}) gets values of {rank} dimensions, the first for examples; expected {expected}")
    result = LAYERS[kind](layer, span, arithmetic)
    if not result.center.ndim or len(result.center) != len(span.center):
        raise ModelError(f"layer {name!r} turns a batch of {len(span.center)} into {len(result.center)}; examples must stay apart")
    return result


def require_plain(layer: nn.Module, name: str, arithmetic: Arithmetic) -> None:
    """Refuse a layer whose output something else may change.

    Raises:
        ModelError: If it has a hook, a forward of its own, or tensors that are no plain ones of the model's type.
    """
    if layer._forward_hooks or layer._forward_pre_hooks:
        raise ModelError(f"layer {name!r} ({type(layer).__name__}) has a forward hook, which may change its output; remove the hook")
    changed = next((key for key, value in vars(layer).items() if callable(value) and hasattr(type(layer), key)), None)
    if changed:
        raise ModelError(f"layer {name!r} ({type(layer).__name__}) has another {changed} than its type; write it as a type of its own")
    own = [value for value in vars(layer).values() if isinstance(value, Tensor)]  # a weight may be an attribute that is no parameter
    for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False), *own):
        arithmetic.require_type(tensor, f"layer {name!r} ({type(layer).__name__})")
