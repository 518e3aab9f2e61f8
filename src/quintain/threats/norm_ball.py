"""The base class of the norm balls: a checked radius and data box, and the spec that states them."""

from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor

from quintain.threats import spec_format
from quintain.threats.threat import ProjectionCache


@dataclass(frozen=True, slots=True)
class NormBall:
    """The base class of a threat that is a ball of one norm, cut off at the data box.

    Attributes:
        name: The registered name, with which its spec begins.
        specs, allows: Specs to show, and what they allow: its row in docs/attacks.md.

    Args:
        eps: Radius, in the units of the norm.
        low, high: Least and greatest value of the data.

    Raises:
        SettingError: If ``eps`` is negative or not finite, or ``low`` is not below ``high``.
    """

    name: ClassVar[str]

    eps: float
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        low, high = spec_format.check_box(self.low, self.high)
        for name, value in (("eps", spec_format.check_eps(self.eps)), ("low", low), ("high", high)):
            object.__setattr__(self, name, value)

    @classmethod
    def from_spec(cls, text: str) -> Self:
        """Return the ball whose spec has ``text`` after the colon, such as ``8/255``."""
        return cls(*spec_format.read_ball(text))

    @property
    def spec(self) -> str:
        """The exact text of this ball, such as ``linf:8/255``."""
        return spec_format.write_ball(self.name, self.eps, self.low, self.high)

    def describe_size(self, size: float) -> str:
        """Return the size of a change in the units of the norm, with two decimals."""
        return f"{size:.2f}"

    def __str__(self) -> str:
        return self.spec

    def projection_cache(self, x: Tensor) -> ProjectionCache:  # noqa: ARG002
        """Return an empty cache, since the projection needs none."""
        return ()
