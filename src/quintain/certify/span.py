"""Sets of values that a layer may take: a box, cut near the input with the image of an L2 ball."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.certify.arithmetic import Arithmetic
from quintain.core.errors import SettingError
from quintain.threats.l2 import L2
from quintain.threats.linf import Linf
from quintain.threats.threat import Threat

Linear = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""``(values, weight, bias) -> values``, linear in the values and in the weight."""


class BatchSize(int):
    """The number of examples: another one in the next call, so that only shapes may follow from it."""


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """Points ``center + axes * u + e`` with |u|_2 <= 1 over each example and |e| <= slack coordinate by coordinate."""

    center: Tensor
    axes: Tensor
    slack: Tensor

    def map(self, f: Callable[[Tensor], Tensor]) -> "Ellipsoid":
        """The same ellipsoid under another shape."""
        return Ellipsoid(f(self.center), f(self.axes), f(self.slack))


@dataclass(frozen=True, slots=True)
class Span:
    """A batch of boxes ``center +- radius`` (B, *S), each cut by an ellipsoid where there is one."""

    center: Tensor
    radius: Tensor
    ball: Ellipsoid | None = None

    @property
    def low(self) -> Tensor:
        """Lowest value of each coordinate."""
        return self.center - self.radius

    @property
    def high(self) -> Tensor:
        """Highest value of each coordinate."""
        return self.center + self.radius

    @property
    def magnitude(self) -> Tensor:
        """Largest absolute value of each coordinate."""
        return self.center.abs() + self.radius

    @staticmethod
    def between(low: Tensor, high: Tensor) -> "Span":
        """The box from ``low`` to ``high``."""
        return Span((low + high) * 0.5, (high - low) * 0.5)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (B, *S); its first number is a ``BatchSize``."""
        return (BatchSize(len(self.center)), *self.center.shape[1:])

    def reshape(self, f: Callable[[Tensor], Tensor]) -> "Span":
        """The same values under another shape; ``f`` keeps the batch dimension."""
        return Span(f(self.center), f(self.radius), self.ball and self.ball.map(f))

    def monotone(self, f: Callable[[Tensor], Tensor], arithmetic: Arithmetic, terms: int = 0) -> "Span":
        """Values of a function with slopes in [0, 1] that the model rounds ``terms`` times."""
        box, magnitude = Span.between(f(self.low), f(self.high)), self.magnitude
        return box.widened(arithmetic.slack(terms, magnitude, magnitude)) if arithmetic.rounds else box

    def widened(self, by: Tensor) -> "Span":
        """The same set with each coordinate reaching ``by`` further from its center."""
        return Span(self.center, self.radius + by, self.ball and Ellipsoid(self.ball.center, self.ball.axes, self.ball.slack + by))

    def affine(self, scale: Tensor, shift: Tensor, arithmetic: Arithmetic, terms: int) -> "Span":
        """Values of ``scale * h + shift``, coordinate by coordinate; each term is rounded at most ``terms`` times."""
        # scale may be negative: radii take its absolute value. Each of the two terms is rounded relative to
        # its size
        size, magnitude = scale.abs(), self.magnitude
        slack = arithmetic.slack(terms, magnitude * size + shift.abs(), magnitude)
        center, ball = self.center * scale + shift, self.ball
        # where broadcasting copies a coordinate, its copies move together, and the ellipsoid of independent
        # ones would be too small
        if ball is None or center.shape != ball.center.shape:
            return Span(center, self.radius * size + slack)
        return Span(center, self.radius * size + slack, Ellipsoid(ball.center * scale + shift, ball.axes * size, ball.slack * size + slack))

    def plus(self, other: "Span", arithmetic: Arithmetic) -> "Span":
        """Values of a sum of two sets, as if both could reach their extremes together."""
        magnitude = self.magnitude + other.magnitude
        slack = arithmetic.slack(1, magnitude, torch.zeros_like(magnitude))
        return Span(self.center + other.center, self.radius + other.radius + slack)

    def linear(self, f: Linear, weight: Tensor, bias: Tensor | None, arithmetic: Arithmetic, terms: int) -> "Span":
        r"""Values of ``f(h, weight, bias)``, each a sum of at most ``terms`` products.

        .. math:: Wc + b \pm |W| r \quad\text{cut with}\quad Wc' + b \pm \|W \operatorname{diag}(a)\|_{2}
        """
        size, gamma = weight.abs(), arithmetic.gamma(terms)

        def reach(radius: Tensor) -> Tensor:
            """How far values of this radius reach, the rounding of the layer included; infinite where it may overflow."""
            if not arithmetic.rounds:
                return f(radius, size, None)
            # sum |w| r + gamma (sum |w h| + |b|) in one application of the layer, then what is lost below the
            # smallest normal number; far / gamma is at least sum |w h| + |b|, so this comparison fails
            # wherever a sum of the model may overflow
            magnitude = self.magnitude
            far = f(radius + gamma * magnitude, size, None if bias is None else gamma * bias.abs())
            far = far + arithmetic.lost(terms, magnitude.flatten(1).amax(1)).reshape(-1, *[1] * (far.ndim - 1))
            return torch.where(far * (1 + gamma) < arithmetic.huge * gamma, far, torch.inf)

        center, radius = f(self.center, weight, bias), reach(self.radius)
        if self.ball is None:
            return Span(center, radius)
        # the ball's image: each output reaches as far as the length of its weights times the axes (dual norm
        # of L2). Clamped, since the square root has no finite slope at 0, and training differentiates it
        ball, least = self.ball, torch.finfo(radius.dtype).tiny
        middle, length = f(ball.center, weight, bias), f(ball.axes.square(), weight.square(), None).clamp(min=least).sqrt()
        length = length + reach(ball.slack) if arithmetic.rounds else length
        return Span.between(torch.maximum(center - radius, middle - length), torch.minimum(center + radius, middle + length))


def start(x: Tensor, threat: Threat, eps: Tensor | float | None = None) -> Span:
    """The inputs that the adversary may choose: the ball around ``x`` (B, *S), cut by the data box.

    Args:
        x: Inputs inside the box, in the type in which bounds are computed.
        threat: ``Linf`` or ``L2``.
        eps: A radius for each example (B,) instead of the threat's.

    Raises:
        SettingError: For another threat.
    """
    if not isinstance(threat, Linf | L2):
        raise SettingError(f"interval bounds know Linf and L2; got {threat!r}")
    size = torch.as_tensor(threat.eps if eps is None else eps, dtype=x.dtype, device=x.device)
    size = size.reshape(-1, *[1] * (x.ndim - 1)).expand_as(x)
    box = Span.between((x - size).clamp(min=threat.low), (x + size).clamp(max=threat.high))
    return Span(box.center, box.radius, Ellipsoid(x, size, torch.zeros_like(x))) if isinstance(threat, L2) else box
