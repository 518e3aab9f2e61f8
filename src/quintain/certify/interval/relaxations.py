"""Lines that enclose nonlinear layers over an interval of their input: a function and a line of the table.

Each function takes the layer, the lower and upper ends of its input and the rounding model, and returns lines
that the layer keeps to in exact arithmetic; what computing them in float64 loses is charged by who uses them.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintain.certify.interval.recording import Lines, ReLULines
from quintain.certify.interval.smooth import LIBRARY_ROUNDINGS, smooth_lines
from quintain.certify.rounding import RoundingModel


class Relaxation(NamedTuple):
    """How linear bounds see a nonlinear layer.

    Args:
        lines: ``(layer, lower, upper, rounding) -> Lines``.
        roundings: How often the model rounds each output.
    """

    lines: Callable[[Any, Tensor, Tensor, RoundingModel], Lines]
    roundings: int


def relu(_layer: nn.Module, lower: Tensor, upper: Tensor, _rounding: RoundingModel) -> Lines:
    """Enclose max(h, 0)."""
    return ReLULines(*_clamp(lower, upper, 0.0, math.inf))


def hardtanh(layer: nn.Hardtanh, lower: Tensor, upper: Tensor, rounding: RoundingModel) -> Lines:
    """Enclose min(max(h, a), b)."""
    low, high = (
        value if math.isinf(value) else rounding.number(value, type(layer).__name__)
        for value in (layer.min_val, layer.max_val)
    )
    return _clamp(lower, upper, low, high)


def _clamp(lower: Tensor, upper: Tensor, low: float, high: float) -> Lines:
    """Enclose a clamp to [a, b], by its chord on one side and by a line through a kink on the other.

    Of the lines through a kink that of slope 0 and the steepest are tried: the one that leaves less area is
    taken (Zhang et al., 2018).
    """
    slope, intercept = _chord(lower, upper, lower.clamp(low, high), upper.clamp(low, high))
    # below: convex at a, so that lines through (a, a) up to the chord from there to the upper end lie below
    bends = (lower < low) & (low < upper)
    steep = torch.where(upper - low > low - lower, (upper.clamp(max=high) - low) / (upper - low), 0.0)
    below = torch.where(bends, steep, slope), torch.where(bends, (1 - steep) * low, intercept)
    # above: concave at b, so that lines through (b, b) up to the chord from the lower end lie above
    bends = (lower < high) & (high < upper)
    steep = torch.where(high - lower > upper - high, (high - lower.clamp(min=low)) / (high - lower), 0.0)
    above = torch.where(bends, steep, slope), torch.where(bends, (1 - steep) * high, intercept)
    return Lines(*below, *above)


def leaky_relu(layer: nn.LeakyReLU, lower: Tensor, upper: Tensor, rounding: RoundingModel) -> Lines:
    """Enclose max(h, a h) with a in [0, 1]: it is convex, so that the chord lies above, either part below."""
    slope = rounding.number(layer.negative_slope, "LeakyReLU")
    above = _chord(lower, upper, F.leaky_relu(lower, slope), F.leaky_relu(upper, slope))
    bends = (lower < 0) & (upper > 0)
    # as a tensor: of two plain numbers torch.where makes float32, and .01 is a smaller number there
    part = torch.where(upper > -lower, torch.ones_like(upper), torch.full_like(upper, slope))
    below = torch.where(bends, part, above[0])
    return Lines(below, torch.where(bends, 0.0, above[1]), *above)


def _chord(lower: Tensor, upper: Tensor, at_lower: Tensor, at_upper: Tensor) -> tuple[Tensor, Tensor]:
    """Return slope and intercept of the line through both ends; a constant where they are one point."""
    width = upper - lower
    slope = torch.where(width > 0, (at_upper - at_lower) / width, 0.0)
    # exactly the constant or the identity where the layer is one
    return slope, torch.where(
        slope == 0, torch.maximum(at_lower, at_upper), torch.where(slope == 1, 0.0, at_lower - slope * lower)
    )


def max_pool2d(layer: nn.MaxPool2d, lower: Tensor, upper: Tensor, _rounding: RoundingModel) -> Lines:
    """Enclose a maximum, by its input of the largest lower end and by the largest upper end."""
    settings = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)
    at_least, index = F.max_pool2d(lower, *settings, return_indices=True)
    # a window of padding alone has no input, and no bound that is finite
    index = index.clamp(max=lower[0, 0].numel() - 1)
    at_most = F.max_pool2d(upper, *settings)
    alone = at_least >= _largest_rival(layer, upper, index)
    slope = alone.to(lower.dtype)
    channel = torch.arange(lower.shape[1], device=lower.device).view(1, -1, 1, 1) * lower[0, 0].numel()
    return Lines(
        torch.ones_like(slope),
        torch.zeros_like(slope),
        slope,
        torch.where(alone, 0.0, at_most),
        index + channel,
    )


def _largest_rival(layer: nn.MaxPool2d, upper: Tensor, index: Tensor) -> Tensor:
    """Return the largest upper end in each window but that of the input at the position ``index``."""
    kernel, stride, padding, dilation = (
        (size, size) if isinstance(size, int) else size
        for size in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    )
    # padded as far as the last window reaches, with what is never largest
    sides: list[int] = []
    for axis in (1, 0):
        reach = (index.shape[2 + axis] - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1
        sides += [padding[axis], reach - padding[axis] - upper.shape[2 + axis]]

    def windows(values: Tensor, outside: float) -> Tensor:
        found = F.unfold(F.pad(values, sides, value=outside), kernel, dilation, 0, stride)
        return found.unflatten(1, (values.shape[1], -1))

    positions = torch.arange(upper[0, 0].numel(), device=upper.device, dtype=upper.dtype).view(
        1, 1, *upper.shape[2:]
    )
    is_chosen = windows(positions, -1.0) == index.flatten(2)[:, :, None]
    return windows(upper, -torch.inf).masked_fill(is_chosen, -torch.inf).amax(2).view_as(index)


RELAXATIONS: dict[type[nn.Module], Relaxation] = {
    nn.ReLU: Relaxation(relu, 0),
    nn.ReLU6: Relaxation(hardtanh, 0),
    nn.Hardtanh: Relaxation(hardtanh, 0),
    nn.LeakyReLU: Relaxation(leaky_relu, 2),
    nn.Sigmoid: Relaxation(smooth_lines, LIBRARY_ROUNDINGS),
    nn.Tanh: Relaxation(smooth_lines, LIBRARY_ROUNDINGS),
    nn.GELU: Relaxation(smooth_lines, LIBRARY_ROUNDINGS),
    nn.MaxPool2d: Relaxation(max_pool2d, 0),
}
"""The nonlinear layers; all others with interval bounds are affine, and need no second rule."""
