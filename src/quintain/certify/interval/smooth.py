"""Sigmoid, tanh and GELU: their ranges over intervals, and lines that enclose them.

No standard says how exactly a library computes them; ``LIBRARY_ROUNDINGS`` is what is charged.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from quintain.certify.interval.domain import Interval
from quintain.certify.interval.recording import Lines
from quintain.certify.rounding import RoundingModel

LIBRARY_ROUNDINGS = 32
"""Units of roundoff, of |h| + |f(h)|, by which a library's f(h) is taken to be off at most.

PyTorch and onnxruntime were seen to stay within 6 of them on the CPU in float32.
"""

BISECTIONS = 50
"""Halvings of a search for a tangent; whatever it finds is checked, so that any number is sound."""

NARROW = 1e-8
"""Width of an interval below which an S-shaped function has two constants in place of two lines."""


class Curve(NamedTuple):
    """A smooth function of one number, in float64.

    Args:
        f, derivative: The function and its derivative.
        least: Where it is least; -inf for an increasing one.
        bend: The derivative is monotone on each side of -bend and bend, and between the two.
    """

    f: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]
    least: float
    bend: float


def _sigmoid_derivative(h: Tensor) -> Tensor:
    return torch.sigmoid(h) * torch.sigmoid(-h)


def _tanh_derivative(h: Tensor) -> Tensor:
    return 1 - torch.tanh(h).square()


def _gelu_derivative(h: Tensor) -> Tensor:
    return torch.special.ndtr(h) + h * torch.exp(-h.square() / 2) / math.sqrt(2 * math.pi)


def _tanh_gelu_derivative(h: Tensor) -> Tensor:
    scale, cubic = math.sqrt(2 / math.pi), 0.044715
    t = torch.tanh(scale * (h + cubic * h**3))
    return (1 + t) / 2 + h / 2 * (1 - t.square()) * scale * (1 + 3 * cubic * h.square())


SIGMOID = Curve(torch.sigmoid, _sigmoid_derivative, -math.inf, 0.0)
TANH = Curve(torch.tanh, _tanh_derivative, -math.inf, 0.0)
GELU = Curve(nn.functional.gelu, _gelu_derivative, -0.7517915246935645, math.sqrt(2))
TANH_GELU = Curve(
    lambda h: nn.functional.gelu(h, approximate="tanh"),
    _tanh_gelu_derivative,
    -0.7524614220710162,
    1.4185040088261078,
)
"""The two forms of GELU differ by up to 4.8e-4: the one that runs is bounded."""


SMOOTH_LAYERS = (nn.Sigmoid, nn.Tanh, nn.GELU)
"""The layers of this file."""


def _curve(layer: nn.Module) -> Curve:
    if isinstance(layer, nn.GELU):
        return TANH_GELU if layer.approximate == "tanh" else GELU
    return TANH if isinstance(layer, nn.Tanh) else SIGMOID


def smooth(layer: nn.Module, interval: Interval, rounding: RoundingModel) -> Interval:
    """Bounds of sigmoid, tanh or GELU: the values at both ends, and GELU's least one between them."""
    curve = _curve(layer)
    low, high = interval.lower, interval.upper
    ends = curve.f(low), curve.f(high)
    least = ends[0] if math.isinf(curve.least) else curve.f(torch.minimum(low.clamp(min=curve.least), high))
    box = Interval.from_bounds(least, torch.maximum(*ends))
    if not rounding.inexact:
        return box
    terms = interval.magnitude + box.magnitude
    return box.widen(rounding.error_bound(LIBRARY_ROUNDINGS, terms, terms))


def smooth_lines(layer: nn.Module, lower: Tensor, upper: Tensor, _rounding: RoundingModel) -> Lines:
    """Enclose sigmoid, tanh or GELU between two lines."""
    curve = _curve(layer)
    return _parallel(lower, upper, curve) if curve.bend else _s_shaped(lower, upper, curve)


def _s_shaped(lower: Tensor, upper: Tensor, curve: Curve) -> Lines:
    """Enclose a function that is convex below 0, concave above and symmetric about its value there."""
    middle = float(curve.f(torch.zeros((), dtype=torch.float64)))
    below, mirrored = _line_below(lower, upper, curve), _line_below(-upper, -lower, curve)
    # f(h) = 2 f(0) - f(-h): a line below the one end of the mirrored function lies above the other
    above = mirrored[0], 2 * middle - mirrored[1]
    wide = upper - lower >= NARROW
    return Lines(
        torch.where(wide, below[0], 0.0),
        torch.where(wide, below[1], curve.f(lower)),
        torch.where(wide, above[0], 0.0),
        torch.where(wide, above[1], curve.f(upper)),
    )


def _line_below(lower: Tensor, upper: Tensor, curve: Curve) -> tuple[Tensor, Tensor]:
    """Return slope and intercept of a line below an S-shaped function.

    The chord, where the function starts at least as steep; else a tangent at a point of the convex part, as
    far right as it passes below the upper end.
    """
    f, derivative = curve.f, curve.derivative
    at_lower, at_upper = f(lower), f(upper)
    chord = (at_upper - at_lower) / (upper - lower)
    is_chord = (lower >= 0) | (derivative(lower) >= chord)
    good, bad = lower, upper.clamp(max=0)
    for _ in range(BISECTIONS):
        point = (good + bad) / 2
        passes = f(point) + derivative(point) * (upper - point) <= at_upper
        good, bad = torch.where(passes, point, good), torch.where(passes, bad, point)
    # where all is convex every tangent lies below: that in the middle leaves least area
    point = torch.where(upper <= 0, (lower + upper) / 2, good)
    slope = torch.where(is_chord, chord, derivative(point))
    return slope, torch.where(is_chord, at_lower - chord * lower, f(point) - slope * point)


def _parallel(lower: Tensor, upper: Tensor, curve: Curve) -> Lines:
    """Enclose a function between two lines of its chord's slope, through where it is furthest from them."""
    f, derivative = curve.f, curve.derivative
    # any slope is sound: that of a chord is one of the function's, which rounding may leave
    chord = (f(upper) - f(lower)) / (upper - lower)
    slope = torch.where(upper > lower, chord, 0.0).clamp(-0.2, 1.2)
    found = [f(end) - slope * end for end in (lower, upper)]
    for first, last in ((-math.inf, -curve.bend), (-curve.bend, curve.bend), (curve.bend, math.inf)):
        left, right = lower.clamp(first, last), upper.clamp(first, last)
        rising = derivative(left) <= derivative(right)
        # the one place of this part where the function is as steep as the lines, or one of its ends
        for _ in range(BISECTIONS):
            point = (left + right) / 2
            moves = (derivative(point) < slope) == rising
            left, right = torch.where(moves, point, left), torch.where(moves, right, point)
        point = torch.minimum(torch.maximum((left + right) / 2, lower), upper)
        found.append(f(point) - slope * point)
    distances = torch.stack(found)
    return Lines(slope, distances.amin(0), slope, distances.amax(0))
