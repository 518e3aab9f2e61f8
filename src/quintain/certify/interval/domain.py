"""The interval domain: boxes that contain all values of a layer, cut with the image of an L2 ball."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.certify.rounding import RoundingModel
from quintain.core.errors import SettingError
from quintain.threats.l2 import L2
from quintain.threats.linf import Linf
from quintain.threats.threat import Threat

LinearMap = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""``(values, weight, bias) -> values``, linear in the values and in the weight."""


class BatchSize(int):
    """The number of examples, which may be another one in the next call.

    Therefore only shapes may depend on it.
    """


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """Points ``center + semi_axes * u + e``, with |u|_2 <= 1 in each example.

    And |e| <= error_radius elementwise.
    """

    center: Tensor
    semi_axes: Tensor
    error_radius: Tensor

    def reshape(self, f: Callable[[Tensor], Tensor]) -> "Ellipsoid":
        """Give the ellipsoid another shape."""
        return Ellipsoid(f(self.center), f(self.semi_axes), f(self.error_radius))


@dataclass(frozen=True, slots=True)
class Interval:
    """A batch of boxes ``center +- radius`` (B, *S), each cut with an ellipsoid where there is one."""

    center: Tensor
    radius: Tensor
    ellipsoid: Ellipsoid | None = None

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

    def reshape(self, f: Callable[[Tensor], Tensor]) -> "Interval":
        """Give the values another shape; ``f`` keeps the batch dimension."""
        return Interval(f(self.center), f(self.radius), self.ellipsoid and self.ellipsoid.reshape(f))

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
        return Interval(
            self.center,
            self.radius + by,
            self.ellipsoid
            and Ellipsoid(self.ellipsoid.center, self.ellipsoid.semi_axes, self.ellipsoid.error_radius + by),
        )

    def elementwise_affine(
        self, scale: Tensor, shift: Tensor, rounding: RoundingModel, roundings: int
    ) -> "Interval":
        """Compute ``scale * h + shift`` elementwise, each term rounded at most ``roundings`` times."""
        # scale may be negative: radii take its absolute value. Each of the two terms is rounded relative to
        # its size
        abs_scale, magnitude = scale.abs(), self.magnitude
        error = rounding.error_bound(roundings, magnitude * abs_scale + shift.abs(), magnitude)
        center, ellipsoid = self.center * scale + shift, self.ellipsoid
        # where broadcasting copies a coordinate, its copies move together, and the ellipsoid of independent
        # ones would be too small
        if ellipsoid is None or center.shape != ellipsoid.center.shape:
            return Interval(center, self.radius * abs_scale + error)
        return Interval(
            center,
            self.radius * abs_scale + error,
            Ellipsoid(
                ellipsoid.center * scale + shift,
                ellipsoid.semi_axes * abs_scale,
                ellipsoid.error_radius * abs_scale + error,
            ),
        )

    def add(self, other: "Interval", rounding: RoundingModel) -> "Interval":
        """Compute the interval of ``a + b``; the correlation of the two is lost, so that radii add."""
        # Semi-axes carry no sign, so that two images of one ball cannot be added: only the box is kept.
        magnitude = self.magnitude + other.magnitude
        error = rounding.error_bound(1, magnitude, torch.zeros_like(magnitude))
        return Interval(self.center + other.center, self.radius + other.radius + error)

    def linear(
        self, f: LinearMap, weight: Tensor, bias: Tensor | None, rounding: RoundingModel, roundings: int
    ) -> "Interval":
        r"""Compute ``f(h, weight, bias)``, each value a sum of at most ``roundings`` products.

        .. math:: Wc + b \pm |W| r \quad\text{cut with}\quad Wc' + b \pm \|W \operatorname{diag}(a)\|_{2}
        """
        abs_weight, gamma = weight.abs(), rounding.gamma(roundings)

        def propagate_radius(radius: Tensor) -> Tensor:
            """Return the radius after the layer, its rounding included; infinite where it may overflow."""
            if not rounding.inexact:
                return f(radius, abs_weight, None)
            # |fl(Wh + b) - (Wh + b)| <= gamma (|W||h| + |b|) with |h| <= magnitude: one pass of |W| over
            # radius + gamma * magnitude gives exact radius and rounding together, then comes what is lost
            # below the smallest normal number. bound / gamma is at least |W| magnitude + |b|, so that the
            # comparison fails wherever a sum of the model may overflow
            magnitude = self.magnitude
            bound = f(radius + gamma * magnitude, abs_weight, None if bias is None else gamma * bias.abs())
            bound = bound + rounding.underflow_bound(roundings, magnitude.flatten(1).amax(1)).reshape(
                -1, *[1] * (bound.ndim - 1)
            )
            return torch.where(bound * (1 + gamma) < rounding.largest_finite * gamma, bound, torch.inf)

        center, radius = f(self.center, weight, bias), propagate_radius(self.radius)
        if self.ellipsoid is None:
            return Interval(center, radius)
        # the ball's image: each output reaches as far as the length of its weights times the axes (dual norm
        # of L2). Clamped, since the square root has no finite slope at 0, and training differentiates it
        ellipsoid, least = self.ellipsoid, torch.finfo(radius.dtype).tiny
        middle, dual_norm = (
            f(ellipsoid.center, weight, bias),
            f(ellipsoid.semi_axes.square(), weight.square(), None).clamp(min=least).sqrt(),
        )
        dual_norm = dual_norm + propagate_radius(ellipsoid.error_radius) if rounding.inexact else dual_norm
        return Interval.from_bounds(
            torch.maximum(center - radius, middle - dual_norm),
            torch.minimum(center + radius, middle + dual_norm),
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
