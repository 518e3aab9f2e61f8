"""One bound rule a layer type: adding a layer is one function and one line of the table.

Each rule takes the layer, the span of its input and the arithmetic, and returns the span of its output. Spans hold what the *deployed*
layer may return, its own rounding included. A table is by exact type: a subclass may compute something else.
"""

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
    return span.linear(F.linear, layer.weight.to(span.center.dtype), cast(layer.bias, span), arithmetic, layer.in_features + 1)


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
    slope = layer.negative_slope
    if not 0 <= slope <= 1:
        raise ModelError(f"LeakyReLU with slope {slope} has no bound rule; slopes in [0, 1] have")
    return span.monotone(lambda h: F.leaky_relu(h, slope), arithmetic, terms=2)


def max_pool(layer: nn.MaxPool2d, span: Span, arithmetic: Arithmetic) -> Span:
    """Bounds of a maximum: the maxima of the ends."""

    if layer.return_indices:
        raise ModelError("MaxPool2d with return_indices has no bound rule; leave it out")

    def f(h: Tensor) -> Tensor:
        return F.max_pool2d(h, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)

    box = Span.between(f(span.low), f(span.high))
    return Span(box.center, box.radius + arithmetic.slack(0, f(span.magnitude))) if arithmetic.rounds else box


def average_pool(layer: nn.AvgPool2d | nn.AdaptiveAvgPool2d, span: Span, arithmetic: Arithmetic) -> Span:
    """Bounds of a mean, which is linear with weights that are not negative."""
    if getattr(layer, "divisor_override", None) is not None:
        raise ModelError("AvgPool2d with divisor_override has no bound rule; leave it out and scale with a layer that has one")
    terms = span.center.shape[-2:].numel() + 1
    slack = arithmetic.slack(terms, layer(span.magnitude) * terms) / terms
    return Span(layer(span.center), layer(span.radius) + slack)


def batch_norm(layer: nn.BatchNorm1d | nn.BatchNorm2d, span: Span, arithmetic: Arithmetic) -> Span:
    """Bounds of batch normalisation in evaluation mode: a scale and a shift, folded in the type of the bounds."""
    if layer.training or layer.running_mean is None or layer.running_var is None:
        raise ModelError("BatchNorm has bounds in evaluation mode only, with running statistics: call net.eval()")
    shape = (-1, *[1] * (span.center.ndim - 2))
    mean, variance = layer.running_mean.to(span.center.dtype), layer.running_var.to(span.center.dtype)
    scale = (variance + layer.eps).rsqrt()
    if layer.affine:
        scale = scale * layer.weight.to(scale.dtype)
    moved = span.affine(scale.reshape(shape), -(mean * scale).reshape(shape), arithmetic, terms=8)
    if not layer.affine:
        return moved
    return moved.affine(torch.ones_like(scale).reshape(shape), layer.bias.to(scale.dtype).reshape(shape), arithmetic, terms=2)


def normalise(layer: Normalise, span: Span, arithmetic: Arithmetic) -> Span:
    """Bounds of (h - mean) / std."""
    shape = (-1, *[1] * (span.center.ndim - 2))
    mean, std = (value.to(span.center.dtype).view(shape) for value in (layer.mean, layer.std))
    centred = span.affine(torch.ones_like(mean), -mean, arithmetic, terms=1)
    return centred.affine(1 / std, torch.zeros_like(std), arithmetic, terms=1)


def flatten(layer: nn.Flatten, span: Span, _arithmetic: Arithmetic) -> Span:
    """Another shape of the same values."""
    return span.reshape(layer)


def identity(layer: nn.Module, span: Span, _arithmetic: Arithmetic) -> Span:
    """The same values; dropout is one in evaluation mode only."""
    if layer.training and getattr(layer, "p", 0) > 0:
        raise ModelError(f"{type(layer).__name__} has bounds in evaluation mode only: call net.eval()")
    return span


LAYERS: dict[type[nn.Module], Rule] = {
    nn.Linear: dense,
    nn.Conv2d: convolution,
    nn.ReLU: relu,
    nn.LeakyReLU: leaky_relu,
    nn.MaxPool2d: max_pool,
    nn.AvgPool2d: average_pool,
    nn.AdaptiveAvgPool2d: average_pool,
    nn.BatchNorm1d: batch_norm,
    nn.BatchNorm2d: batch_norm,
    Normalise: normalise,
    nn.Flatten: flatten,
    nn.Identity: identity,
    nn.Dropout: identity,
    nn.Dropout2d: identity,
}


def bound_layer(layer: nn.Module, span: Span, arithmetic: Arithmetic, name: str) -> Span:
    """The span of a layer's output.

    Raises:
        ModelError: If its type has no rule, or a hook may change what it computes.
    """
    kind = type(layer)
    if kind not in LAYERS:
        known = ", ".join(sorted(layer.__name__ for layer in LAYERS))
        raise ModelError(f"layer {name!r} is a {kind.__name__}, which has no bound rule; layers with one: {known}")
    require_plain(layer, name)
    return LAYERS[kind](layer, span, arithmetic)


def require_plain(layer: nn.Module, name: str) -> None:
    """Refuse a layer whose output something else may change.

    Raises:
        ModelError: If it has a hook, or a forward of its own.
    """
    if layer._forward_hooks or layer._forward_pre_hooks:
        raise ModelError(f"layer {name!r} ({type(layer).__name__}) has a forward hook, which may change its output; remove the hook")
    if "forward" in vars(layer):
        raise ModelError(f"layer {name!r} ({type(layer).__name__}) has another forward than its type; write it as a type of its own")
