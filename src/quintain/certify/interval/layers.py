"""Interval bounds of layers: one function for each, and one line of the table in ``layer_rules``.

Each rule takes the layer, the interval of its input and the rounding model, and returns the interval of its
output. Intervals contain what the *deployed* layer may return, its own rounding included.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintain.certify.interval.domain import Interval
from quintain.certify.rounding import RoundingModel
from quintain.core.errors import ModelError
from quintain.models.nets import Normalize


def _as_bound_dtype(value: Tensor | None, interval: Interval) -> Tensor | None:
    """Convert a parameter to the type of the bounds."""
    return None if value is None else value.to(interval.center.dtype)


def linear(layer: nn.Linear, interval: Interval, rounding: RoundingModel) -> Interval:
    """Bounds of a linear layer."""
    return interval.linear(
        F.linear,
        layer.weight.to(interval.center.dtype),
        _as_bound_dtype(layer.bias, interval),
        rounding,
        layer.weight.shape[1] + 1,
    )


CONVOLUTIONS: dict[type[nn.Module], Callable[..., Tensor]] = {nn.Conv1d: F.conv1d, nn.Conv2d: F.conv2d}
TRANSPOSED_CONVOLUTIONS: dict[type[nn.Module], Callable[..., Tensor]] = {
    nn.ConvTranspose1d: F.conv_transpose1d,
    nn.ConvTranspose2d: F.conv_transpose2d,
}


def convolution(layer: nn.Conv1d | nn.Conv2d, interval: Interval, rounding: RoundingModel) -> Interval:
    """Bound a convolution with zero padding.

    At the border, the norm of a row counts the taps inside only.
    """
    if layer.padding_mode != "zeros":
        raise ModelError(
            f"{type(layer).__name__} with padding_mode={layer.padding_mode!r} has no bound rule; "
            "padding_mode='zeros' has"
        )
    settings = (layer.stride, layer.padding, layer.dilation, layer.groups)
    return convolve(CONVOLUTIONS[type(layer)], interval, layer.weight, layer.bias, rounding, *settings)


def transposed_convolution(
    layer: nn.ConvTranspose1d | nn.ConvTranspose2d, interval: Interval, rounding: RoundingModel
) -> Interval:
    """Bound a transposed convolution, whose outputs are sums over input channels of a group and taps."""
    settings = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
    f = TRANSPOSED_CONVOLUTIONS[type(layer)]
    return convolve(f, interval, layer.weight, layer.bias, rounding, *settings, groups=layer.groups)


def convolve(
    function: Callable[..., Tensor],
    interval: Interval,
    weight: Tensor,
    bias: Tensor | None,
    rounding: RoundingModel,
    *settings: Any,
    groups: int | None = None,
) -> Interval:
    """Bound a convolution as a function.

    Args:
        function: ``F.conv2d`` or one of its like.
        interval: Its input.
        weight, bias: Its own.
        rounding: How the model rounds.
        settings: What follows the bias.
        groups: Of a transposed one, whose weight lists input channels first; None for another.
    """

    def f(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return function(h, weight, bias, *settings)

    # products of one output: over the input channels of its group and the taps
    products = weight[0].numel() if groups is None else len(weight) // groups * weight[0, 0].numel()
    return interval.linear(
        f, weight.to(interval.center.dtype), _as_bound_dtype(bias, interval), rounding, products + 1
    )


def relu(_layer: nn.Module, interval: Interval, rounding: RoundingModel) -> Interval:
    """Bounds of max(h, 0), which is exact in floating point."""
    return interval.apply_monotone(F.relu, rounding)


def leaky_relu(layer: nn.LeakyReLU, interval: Interval, rounding: RoundingModel) -> Interval:
    """Bounds of max(h, slope h)."""
    slope = rounding.number(layer.negative_slope, "LeakyReLU")
    if not 0 <= slope <= 1:
        raise ModelError(
            f"LeakyReLU with slope {layer.negative_slope} has no bound rule; slopes in [0, 1] have"
        )
    return interval.apply_monotone(lambda h: F.leaky_relu(h, slope), rounding, roundings=2)


def hardtanh(layer: nn.Hardtanh, interval: Interval, rounding: RoundingModel) -> Interval:
    """Bound min(max(h, a), b), of which ReLU6 is one.

    A maximum and a minimum are exact in floating point.
    """
    low, high = (
        value if math.isinf(value) else rounding.number(value, type(layer).__name__)
        for value in (layer.min_val, layer.max_val)
    )
    return interval.apply_monotone(lambda h: h.clamp(low, high), rounding)


def max_pool2d(layer: nn.MaxPool2d, interval: Interval, rounding: RoundingModel) -> Interval:
    """Bounds of a maximum: the maxima of the lower and of the upper ends."""
    if layer.return_indices:
        raise ModelError("MaxPool2d with return_indices has no bound rule; leave it out")

    def f(h: Tensor) -> Tensor:
        return F.max_pool2d(
            h, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode
        )

    box = Interval.from_bounds(f(interval.lower), f(interval.upper))
    magnitude = f(interval.magnitude)
    return box.widen(rounding.error_bound(0, magnitude, magnitude)) if rounding.inexact else box


def avg_pool2d(
    layer: nn.AvgPool2d | nn.AdaptiveAvgPool2d, interval: Interval, rounding: RoundingModel
) -> Interval:
    """Bounds of a mean, which is linear with weights that are not negative."""
    if getattr(layer, "divisor_override", None) is not None:
        raise ModelError(
            "AvgPool2d with divisor_override has no bound rule; leave it out and scale with a layer that has "
            "one"
        )
    roundings = interval.center.shape[-2:].numel() + 1
    window = (
        roundings
        if isinstance(layer, nn.AdaptiveAvgPool2d)
        else max(roundings, math.prod(_pair(layer.kernel_size)))
    )
    mean = layer(interval.magnitude)
    # mean = sum / k with k <= the window: the overflow test needs the sum, so the magnitude is multiplied by
    # the window and the error divided again.
    error = rounding.error_bound(roundings, mean * window, mean * 0) / roundings
    found = Interval(layer(interval.center), layer(interval.radius) + error)
    return found.record((interval,), layer, error, mean, mixes=True)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def batch_norm(
    layer: nn.BatchNorm1d | nn.BatchNorm2d, interval: Interval, rounding: RoundingModel
) -> Interval:
    """Bound batch normalization in evaluation mode: a scale and a shift.

    Scale and shift are computed in the dtype of the bounds.
    """
    if layer.training or layer.running_mean is None or layer.running_var is None:
        raise ModelError(
            "BatchNorm has bounds in evaluation mode only, with running statistics: call net.eval()"
        )
    shape = (-1, *[1] * (interval.center.ndim - 2))
    if bool((layer.running_var < 0).any()):
        raise ModelError(
            "BatchNorm has a negative running variance, whose sum with eps devices round otherwise; expected "
            "0 or more"
        )
    mean, variance = (
        value.to(interval.center.dtype).reshape(shape) for value in (layer.running_mean, layer.running_var)
    )
    variance = variance + rounding.number(layer.eps, "BatchNorm")
    inverse = variance.rsqrt()
    scale_weight, bias = _as_bound_dtype(layer.weight, interval), _as_bound_dtype(layer.bias, interval)
    weight = torch.ones_like(inverse) if scale_weight is None else scale_weight.reshape(shape)
    scale = inverse * weight
    moved = interval.elementwise_affine(scale, -mean * scale, rounding, roundings=12)
    if rounding.inexact:
        moved = moved.widen(
            _batch_norm_underflow(interval.magnitude + mean.abs(), variance, weight, rounding)
        )
    return (
        moved
        if bias is None
        else moved.elementwise_affine(torch.ones_like(scale), bias.reshape(shape), rounding, roundings=2)
    )


def _batch_norm_underflow(
    distance: Tensor, variance: Tensor, weight: Tensor, rounding: RoundingModel
) -> Tensor:
    r"""Bound what (h - mean) / sqrt(variance) * weight loses to underflow, in any order.

    Underflow happens below the smallest normal number t.

    A loss of t in one factor is multiplied by the others: by |h - mean|, by the inverse deviation, by the
    weight or by their product. Infinite where a partial product may overflow, or where the variance is so
    small that t is no rounding of it.
    """
    inverse, t = variance.rsqrt(), rounding.smallest_normal
    scale = inverse * weight.abs()
    largest_product = distance * torch.maximum(inverse, scale).clamp(min=1)
    regular = (
        (largest_product < rounding.largest_finite / 2)
        & (scale < rounding.largest_finite / 2)
        & (variance * rounding.unit_roundoff > t)
        & (variance < rounding.largest_finite / 2)
    )
    return torch.where(regular, 8 * t * ((1 + inverse) * (1 + distance) + weight.abs() + scale), torch.inf)


def normalize(layer: Normalize, interval: Interval, rounding: RoundingModel) -> Interval:
    """Bounds of (h - mean) / std."""
    shape = (-1, *[1] * (interval.center.ndim - 2))
    mean, std = (value.to(interval.center.dtype).view(shape) for value in (layer.mean, layer.std))
    centred = interval.elementwise_affine(torch.ones_like(mean), -mean, rounding, roundings=1)
    return centred.elementwise_affine(rounding.inverse(std), torch.zeros_like(std), rounding, roundings=1)


def zero_pad(layer: nn.ZeroPad2d, interval: Interval, _rounding: RoundingModel) -> Interval:
    """Bounds of zero padding, or of a border that is cut off: the same values at other positions."""
    if layer.value != 0:
        raise ModelError(
            f"ZeroPad2d with value {layer.value} has no bound rule; it pads with zeros unless that was "
            "changed"
        )
    return interval.reshape(lambda h: F.pad(h, layer.padding))


def constant_pad(
    layer: nn.ConstantPad1d | nn.ConstantPad2d, interval: Interval, rounding: RoundingModel
) -> Interval:
    """Bounds of padding by a number, or of a border that is cut off."""
    return interval.pad(list(layer.padding), rounding.number(layer.value, type(layer).__name__))


def unflatten(layer: nn.Unflatten, interval: Interval, _rounding: RoundingModel) -> Interval:
    """Bounds of another shape, in which one dimension of an example becomes several."""
    if not isinstance(layer.dim, int) or layer.dim % interval.center.ndim == 0:
        raise ModelError(
            f"Unflatten of dimension {layer.dim!r} has no bound rule; a number that is not the examples' "
            "dimension, 0, has"
        )
    return interval.reshape(layer)


def flatten(layer: nn.Flatten, interval: Interval, _rounding: RoundingModel) -> Interval:
    """Bounds of another shape of the same values."""
    return interval.reshape(layer)


def identity(layer: nn.Module, interval: Interval, _rounding: RoundingModel) -> Interval:
    """Bounds of the identity, which dropout is in evaluation mode only."""
    if layer.training and getattr(layer, "p", 0) > 0:
        raise ModelError(f"{type(layer).__name__} has bounds in evaluation mode only: call net.eval()")
    return interval
