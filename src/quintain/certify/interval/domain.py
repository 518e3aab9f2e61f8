"""The interval domain: boxes that contain all values of a layer, cut with the image of an L2 ball."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from quintain.certify.interval.recording import AffineMap, Lines, Operation, Recording
from quintain.certify.rounding import RoundingModel
from quintain.core.errors import ContradictionError, SettingError
from quintain.threats.l2 import L2
from quintain.threats.linf import Linf
from quintain.threats.threat import Threat

LinearMap = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""``(values, weight, bias) -> values``, linear in the values and in the weight."""


class BatchSize(int):
    """The number of examples, which may be another one in the next call.

    Therefore only shapes may depend on it.
    """


def loses_squares(values: Tensor) -> bool:
    """Whether some numbers are so small, and not 0, that their squares have no digits left."""
    least = math.sqrt(torch.finfo(values.dtype).tiny)
    return bool(((values.abs() < least) & (values != 0)).any())


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """The points ``center + semi_axes * u + e``, where |u|_2 <= 1 and each |e_i| <= error_radius_i."""

    center: Tensor
    semi_axes: Tensor
    error_radius: Tensor

    def reshape(self, f: Callable[[Tensor], Tensor]) -> "Ellipsoid":
        """Give the ellipsoid another shape."""
        return Ellipsoid(f(self.center), f(self.semi_axes), f(self.error_radius))


@dataclass(frozen=True, slots=True)
class Interval:
    """A batch of boxes ``center +- radius`` (B, *S), each cut with an ellipsoid where there is one.

    Args:
        center, radius: Of the boxes.
        ellipsoid: What cuts them.
        operation: What computes the values, where operations are recorded.
    """

    center: Tensor
    radius: Tensor
    ellipsoid: Ellipsoid | None = None
    operation: Operation | None = None

    @property
    def lower(self) -> Tensor:
        """Smallest value of each coordinate."""
        return self.center - self.radius

    @property
    def upper(self) -> Tensor:
        """Largest value of each coordinate."""
        return self.center + self.radius

    @property
    def magnitude(self) -> Tensor:
        """Largest absolute value of each coordinate."""
        return self.center.abs() + self.radius

    @staticmethod
    def from_bounds(lower: Tensor, upper: Tensor) -> "Interval":
        """Make the box from ``lower`` to ``upper``."""
        return Interval((lower + upper) * 0.5, (upper - lower) * 0.5)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (B, *S); its first number is a ``BatchSize``."""
        return (BatchSize(len(self.center)), *self.center.shape[1:])

    @property
    def recording(self) -> Recording | None:
        """Where its operations are recorded, if they are."""
        return self.operation.recording if self.operation else None

    def reshape(self, f: Callable[[Tensor], Tensor]) -> "Interval":
        """Give the values another shape; ``f`` keeps the batch dimension."""
        found = Interval(f(self.center), f(self.radius), self.ellipsoid and self.ellipsoid.reshape(f))
        return found.record((self,), f) if self.operation else found

    def apply_monotone(
        self, f: Callable[[Tensor], Tensor], rounding: RoundingModel, roundings: int = 0
    ) -> "Interval":
        """Apply a monotone f with f(0) = 0 and slopes in [0, 1].

        The model rounds it ``roundings`` times.
        """
        # Ends map to ends, and |f(h)| <= |h| bounds the rounding.
        box, magnitude = Interval.from_bounds(f(self.lower), f(self.upper)), self.magnitude
        return box.widen(rounding.error_bound(roundings, magnitude, magnitude)) if rounding.inexact else box

    def widen(self, by: Tensor) -> "Interval":
        """Add ``by`` to each coordinate's radius, of the box and of the ellipsoid."""
        wider = Interval(
            self.center,
            self.radius + by,
            self.ellipsoid
            and Ellipsoid(self.ellipsoid.center, self.ellipsoid.semi_axes, self.ellipsoid.error_radius + by),
        )
        return wider.record((self,), None, by)

    def elementwise_affine(
        self, scale: Tensor, shift: Tensor, rounding: RoundingModel, roundings: int
    ) -> "Interval":
        """Compute ``scale * h + shift`` elementwise, each term rounded at most ``roundings`` times."""
        # scale may be negative: radii take its absolute value. Each of the two terms is rounded relative to
        # its size
        abs_scale, magnitude = scale.abs(), self.magnitude
        terms = magnitude * abs_scale + shift.abs()
        error = rounding.error_bound(roundings, terms, magnitude)
        center, ellipsoid = self.center * scale + shift, self.ellipsoid
        # where broadcasting copies a coordinate, its copies move together, and the ellipsoid of independent
        # ones would be too small
        if ellipsoid is not None and center.shape == ellipsoid.center.shape:
            ellipsoid = Ellipsoid(
                ellipsoid.center * scale + shift,
                ellipsoid.semi_axes * abs_scale,
                ellipsoid.error_radius * abs_scale + error,
            )
        else:
            ellipsoid = None
        found = Interval(center, self.radius * abs_scale + error, ellipsoid)
        return found.record((self,), lambda h: h * scale + shift, error, terms)

    def add(self, other: "Interval", rounding: RoundingModel) -> "Interval":
        """Compute the interval of ``a + b``; the correlation of the two is lost, so that radii add."""
        # Semi-axes carry no sign, so that two images of one ball cannot be added: only the box is kept.
        terms = self.magnitude + other.magnitude
        error = rounding.error_bound(1, terms, torch.zeros_like(terms))
        found = Interval(self.center + other.center, self.radius + other.radius + error)
        return found.record((self, other), torch.add, error, terms, mixes=True)

    def pad(self, padding: Sequence[int], value: float) -> "Interval":
        """Put a number around the values, or cut them where the padding is negative, as ``F.pad`` does."""

        def f(h: Tensor) -> Tensor:
            return F.pad(h, list(padding), value=value)

        def zeros(h: Tensor) -> Tensor:
            return F.pad(h, list(padding))

        ball = self.ellipsoid
        found = Interval(
            f(self.center),
            zeros(self.radius),
            ball and Ellipsoid(f(ball.center), zeros(ball.semi_axes), zeros(ball.error_radius)),
        )
        return found.record((self,), f)

    @staticmethod
    def cat(parts: "Sequence[Interval]", dim: int) -> "Interval":
        """Put intervals behind each other along a dimension; of L2 balls the boxes are kept."""
        found = Interval(
            torch.cat([part.center for part in parts], dim), torch.cat([part.radius for part in parts], dim)
        )
        return found.record(tuple(parts), lambda *values: torch.cat(values, dim))

    def total(
        self, dims: tuple[int, ...], rounding: RoundingModel, *, mean: bool, keepdim: bool
    ) -> "Interval":
        """Compute the sum over dimensions of the examples, or the mean, of n numbers.

        A sum is rounded at most n times, a mean once more, and where a device multiplies by 1/n twice.
        """
        count = math.prod(self.center.shape[dim] for dim in dims)

        def f(h: Tensor) -> Tensor:
            return h.mean(dims, keepdim) if mean else h.sum(dims, keepdim)

        sums = self.magnitude.sum(dims, keepdim)
        # the overflow test is of the sum, whatever it is divided by afterwards
        error = rounding.error_bound(count + 2 * mean, sums, torch.zeros_like(sums))
        error, terms = (error / count, sums / count) if mean else (error, sums)
        found = Interval(f(self.center), f(self.radius) + error)
        return found.record((self,), f, error, terms, mixes=True)

    def linear(
        self, f: LinearMap, weight: Tensor, bias: Tensor | None, rounding: RoundingModel, roundings: int
    ) -> "Interval":
        r"""Compute ``f(h, weight, bias)``, each value a sum of at most ``roundings`` products.

        .. math:: Wc + b \pm |W| r \quad\text{cut with}\quad Wc' + b \pm \|W \operatorname{diag}(a)\|_{2}
        """
        abs_weight, gamma = weight.abs(), rounding.gamma(roundings)
        abs_bias, magnitude = None if bias is None else bias.abs(), self.magnitude

        def propagate_radius(radius: Tensor) -> Tensor:
            """Return the radius after the layer, its rounding included; infinite where it may overflow."""
            if not rounding.inexact:
                return f(radius, abs_weight, None)
            # |fl(Wh + b) - (Wh + b)| <= gamma (|W||h| + |b|) with |h| <= magnitude: one pass of |W| over
            # radius + gamma * magnitude gives exact radius and rounding together, then comes what is lost
            # below the smallest normal number. bound / gamma is at least |W| magnitude + |b|, so that the
            # comparison fails wherever a sum of the model may overflow
            bound = f(radius + gamma * magnitude, abs_weight, None if abs_bias is None else gamma * abs_bias)
            bound = bound + rounding.underflow_bound(roundings, magnitude.flatten(1).amax(1)).reshape(
                -1, *[1] * (bound.ndim - 1)
            )
            return torch.where(bound * (1 + gamma) < rounding.largest_finite * gamma, bound, torch.inf)

        center, radius = f(self.center, weight, bias), propagate_radius(self.radius)
        found = Interval(center, radius)
        if self.ellipsoid is not None:
            # the ball's image: each output reaches as far as the length of its weights times the axes (dual
            # norm of L2). Products of squares may be lost below the smallest normal number, which is added
            # for each; with it the square root, which training differentiates, has a finite slope at 0
            ellipsoid, lost = self.ellipsoid, torch.finfo(radius.dtype).tiny * weight.numel()
            middle, dual_norm = (
                f(ellipsoid.center, weight, bias),
                (f(ellipsoid.semi_axes.square(), weight.square(), None) + lost).sqrt(),
            )
            if rounding.inexact:
                dual_norm = dual_norm + propagate_radius(ellipsoid.error_radius)
                if loses_squares(ellipsoid.semi_axes) or loses_squares(weight):
                    dual_norm = torch.full_like(dual_norm, torch.inf)
            found = Interval.from_bounds(
                torch.maximum(center - radius, middle - dual_norm),
                torch.minimum(center + radius, middle + dual_norm),
            )
        if self.operation is None:
            return found
        # the operation's own rounding, by itself: what the radius grows to where nothing moves
        error = propagate_radius(torch.zeros_like(self.radius))
        return found.record(
            (self,), lambda h: f(h, weight, bias), error, f(magnitude, abs_weight, abs_bias), mixes=True
        )

    def record(
        self,
        sources: "tuple[Interval, ...]",
        affine: AffineMap | None,
        error: Tensor | None = None,
        terms: Tensor | None = None,
        *,
        mixes: bool = False,
    ) -> "Interval":
        """Return this interval with the operation that computes it, if operations are recorded.

        Args:
            sources: What it is computed from.
            affine: The operation, in the type of the bounds; None for the identity.
            error: How far what the model returns may lie from ``affine`` of what it is given (B, *S); None
                for not at all.
            terms: Sum of the absolute values of what each number is a sum of (B, *S); None for the number
                alone.
            mixes: Whether it adds several numbers up.
        """
        operations = tuple(source.operation for source in sources if source.operation is not None)
        if len(operations) < len(sources):
            return self
        error = torch.zeros_like(self.center) if error is None else error.expand_as(self.center)
        terms = self.magnitude if terms is None else terms.expand_as(self.center)
        return replace(
            self, operation=operations[0].recording.add_affine(operations, affine, error, terms, mixes=mixes)
        )

    def refine(self, loose: Tensor) -> "Interval":
        """Return narrower bounds of the values, those that are ``loose`` at least, where they can be had."""
        recording = self.recording
        if self.operation is None or recording is None or recording.refine is None or not bool(loose.any()):
            return self
        return self.intersect(*recording.refine(self.operation, self.lower, self.upper, loose))

    def intersect(self, lower: Tensor, upper: Tensor) -> "Interval":
        """Return the intersection with other bounds of the same values; what is not finite bounds nothing.

        Raises:
            ContradictionError: If nothing is left, so that one of the two bounds is false.
        """
        low = torch.where(lower > self.lower, lower, self.lower)
        high = torch.where(upper < self.upper, upper, self.upper)
        if bool((low > high).any()):
            row = int((low > high).flatten().nonzero()[0])
            raise ContradictionError(
                f"linear bounds prove that a value lies in [{float(lower.flatten()[row]):g}, "
                f"{float(upper.flatten()[row]):g}], and interval bounds that it lies in "
                f"[{float(self.lower.flatten()[row]):g}, {float(self.upper.flatten()[row]):g}]: one of them "
                "is false. Please report the model and the input"
            )
        box = Interval.from_bounds(low, high)
        # center and radius round each: 2^-50 of the larger end covers both
        return replace(
            self, center=box.center, radius=box.radius + 2.0**-50 * torch.maximum(low.abs(), high.abs())
        )

    def record_lines(
        self, source: "Interval", lines: Lines, roundings: int, rounding: RoundingModel
    ) -> "Interval":
        """Return this interval with the nonlinear layer that makes it of ``source``, if that is recorded."""
        if source.operation is None:
            return self
        # what either end of the lines is a sum of, and what the model rounds
        terms = self.magnitude + (source.magnitude if lines.position is None else self.magnitude)
        error = rounding.error_bound(roundings, terms, terms)
        return replace(
            self, operation=source.operation.recording.add_lines(source.operation, lines, error, terms)
        )


def input_interval(x: Tensor, threat: Threat, eps: Tensor | float | None = None) -> Interval:
    """Return the interval of the inputs that the adversary may choose.

    They are the ball around ``x`` (B, *S), intersected with the data box.

    Args:
        x: Inputs inside the data box, in the type in which bounds are computed.
        threat: ``Linf`` or ``L2``.
        eps: A radius for each example (B,) instead of the threat's.

    Raises:
        SettingError: For another threat.
    """
    if not isinstance(threat, Linf | L2):
        raise SettingError(f"interval bounds know Linf and L2; got {threat!r}")
    radius = torch.as_tensor(threat.eps if eps is None else eps, dtype=x.dtype, device=x.device)
    radius = radius.reshape(-1, *[1] * (x.ndim - 1)).expand_as(x)
    box = Interval.from_bounds((x - radius).clamp(min=threat.low), (x + radius).clamp(max=threat.high))
    return (
        Interval(box.center, box.radius, Ellipsoid(x, radius, torch.zeros_like(x)))
        if isinstance(threat, L2)
        else box
    )
