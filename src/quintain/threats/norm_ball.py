"""What the balls of a norm share: a radius and a box, checked, and their token."""

from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor

from quintain.threats import settings
from quintain.threats.ball import Room


@dataclass(frozen=True, slots=True)
class NormBall:
    """A radius and a data box.

    Attributes:
        kind: What its token begins with.

    Args:
        eps: Radius, in the units of the norm.
        low, high: The data box.

    Raises:
        SettingError: If ``eps`` is negative or not finite, or the box is none.
    """

    kind: ClassVar[str]

    eps: float
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        low, high = settings.check_box(self.low, self.high)
        for name, value in (("eps", settings.check_eps(self.eps)), ("low", low), ("high", high)):
            object.__setattr__(self, name, value)

    @classmethod
    def from_token(cls, size: str) -> Self:
        """The ball whose token has ``size`` after the colon, such as ``8/255``."""
        return cls(*settings.read(size))

    @property
    def token(self) -> str:
        """The exact text of this ball, such as ``linf:8/255``."""
        return settings.write(self.kind, self.eps, self.low, self.high)

    def room(self, x: Tensor) -> Room:  # noqa: ARG002
        """Nothing: the projection depends on the point."""
        return ()
