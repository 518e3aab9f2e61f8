"""The base of the norm balls: a checked radius and box, and their text."""

from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor

from quintain.threats import spec_format
from quintain.threats.threat import ProjectionCache


@dataclass(frozen=True, slots=True)
class NormBall:
    """A radius and a data box.

    Attributes:
        name: The registered name, with which its spec begins.

    Args:
        eps: Radius, in the units of the norm.
        low, high: The data box.

    Raises:
        SettingError: If ``eps`` is negative or not finite, or the box is none.
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
        """Return the size of a change, for people."""
        return f"{size:.2f}"

    def __str__(self) -> str:
        return self.spec

    def projection_cache(self, x: Tensor) -> ProjectionCache:  # noqa: ARG002
        """Return nothing: the projection needs no cache."""
        return ()
