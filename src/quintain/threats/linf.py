"""The Linf ball."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.threats.norm_ball import NormBall
from quintain.threats.rng import ExampleRNG
from quintain.threats.rounding import next_float
from quintain.threats.threat import ProjectionCache


@dataclass(frozen=True, slots=True)
class Linf(NormBall):
    r"""Every coordinate may move by at most ``eps``, inside the data box.

    .. math:: \{z : \|z - x\|_\infty \le \varepsilon,\; low \le z \le high\}

    Args:
        eps: Radius, in the units of the data (``8/255`` for images in [0, 1]).
        low, high: The data box.

    Raises:
        SettingError: If ``eps`` is negative, not finite, or wider than the box.
    """

    name: ClassVar[str] = "linf"
    summary: ClassVar[str] = "every pixel may move by at most eps (linf:8/255)"
    guarantee: ClassVar[str] = (
        "projection is the nearest allowed point, rounded inwards; sizes are exact in float64"
    )
    example: ClassVar[str] = "linf:8/255"
    specs: ClassVar[tuple[str, ...]] = ("linf:8/255",)
    allows: ClassVar[str] = "every value moves by at most eps"
    usual: ClassVar[str] = "linf:4/255"

    def __post_init__(self) -> None:
        NormBall.__post_init__(self)
        eps, low, high = self.eps, self.low, self.high
        if eps > high - low:
            hint = (
                f" Did you mean {eps:g}/255?"
                if eps.is_integer() and eps <= 255 and (low, high) == (0, 1)
                else " Give a smaller eps."
            )
            raise SettingError(
                f"eps = {eps:g} is wider than the data box [{low:g}, {high:g}]; images here are in [{low:g}, "
                f"{high:g}].{hint}"
            )

    def bounds(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the lowest and highest allowed values of ``x`` (B, *S), rounded inwards."""
        return self._outermost(x, -1), self._outermost(x, 1)

    def _outermost(self, x: Tensor, side: int) -> Tensor:
        """Return the farthest number on one side that ``contains`` allows.

        Only float64 can round it inwards as well as outwards.
        """
        exact = x.double()
        # x + eps rounded to the dtype may be outside by one ulp: step back. In float64 it may also be one ulp
        # too far inside: step out.
        near = (exact + side * self.eps).clamp_(self.low, self.high).to(x.dtype)
        farthest = torch.where(self._allows(near, exact), near, next_float(near, -side))
        if x.dtype != torch.float64:
            return farthest
        beyond = next_float(near, side)
        return torch.where(self._allows(beyond, exact), beyond, farthest)

    def _allows(self, value: Tensor, exact: Tensor) -> Tensor:
        precise = value.double()
        return (
            (torch.sub(precise, exact).abs_() <= self.eps)
            .logical_and_(precise >= self.low)
            .logical_and_(precise <= self.high)
        )

    def projection_cache(self, x: Tensor) -> ProjectionCache:
        """Return the bounds of ``x``."""
        return self.bounds(x)

    def project(self, z: Tensor, x: Tensor, cache: ProjectionCache | None = None) -> Tensor:
        """Return the allowed point nearest to ``z`` in L2: a clamp, since the set is a box."""
        low, high = cache or self.bounds(x)
        return z.clamp(low, high)

    def steepest_step(self, gradient: Tensor, size: float) -> Tensor:
        """Return the change of size ``size`` that raises a linear function most.

        It is ``size * sign(gradient)``.
        """
        return size * gradient.sign()

    def measure(self, z: Tensor, x: Tensor) -> Tensor:
        """Return the size of the change, per example (B,), in float64.

        It is exact, without any tolerance.
        """
        return (z.double() - x).flatten(1).abs().amax(1)

    def describe_size(self, size: float) -> str:
        """Return the size of a change in steps of 8-bit images."""
        return f"{size * 255:.1f}/255"

    def sample(self, x: Tensor, rng: ExampleRNG, cache: ProjectionCache | None = None) -> Tensor:
        """Return a uniform point of the ball, one per example."""
        low, high = cache or self.bounds(x)
        return torch.lerp(low, high, rng.uniform(x)).clamp(low, high)
