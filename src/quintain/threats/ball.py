"""What every threat, and every ball, can be asked; and the one test of whether a point is allowed."""

from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from quintain.core.errors import DataError, SettingError
from quintain.threats.draw import Draw

Room = tuple[Tensor, ...]
"""What a ball works out once about its origins, for many projections: tensors whose first axis is the example."""


@runtime_checkable
class Threat(Protocol):
    """What an adversary may change: a frozen value, equal to what its token is read as."""

    @property
    def token(self) -> str:
        """The exact text of this threat, such as ``linf:8/255``."""

    @classmethod
    def from_token(cls, size: str) -> Self:
        """The threat whose token has ``size`` after the colon."""


@runtime_checkable
class Ball(Threat, Protocol):
    """All points of the box [low, high] within ``eps`` of ``x``; ``x`` and ``z`` are (B, *S), and ``x`` is in the box."""

    @property
    def eps(self) -> float:
        """Radius, in the units of the data."""

    @property
    def low(self) -> float:
        """Least value of the data."""

    @property
    def high(self) -> float:
        """Greatest value of the data."""

    def room(self, x: Tensor) -> Room:
        """What ``project`` needs of ``x``, worked out once where many points are projected; index it to keep some of the examples."""

    def project(self, z: Tensor, x: Tensor, room: Room | None = None) -> Tensor:
        """The allowed point nearest to ``z`` in L2; projecting again changes no bit."""

    def ascend(self, gradient: Tensor, step: float) -> Tensor:
        """The change of size ``step`` that raises a linear function most; nothing where the gradient is zero."""

    def measure(self, z: Tensor, x: Tensor) -> Tensor:
        """Size of the change, per example (B,), in float64."""

    def sample(self, x: Tensor, draw: Draw, room: Room | None = None) -> Tensor:
        """A random allowed point, one per example."""


def contains(threat: Ball, z: Tensor, x: Tensor) -> Tensor:
    """Whether each ``z`` is allowed for its ``x`` (B,): size at most ``eps`` in float64 and in the box, without tolerance; NaN is not."""
    z, x = z.detach(), x.detach()
    return boxed(threat, z) & (threat.measure(z, x) <= threat.eps)


def boxed(threat: Ball, z: Tensor) -> Tensor:
    """Whether each image (B, *S) is in the data box (B,), in float64; NaN is not."""
    rows = z.flatten(1)
    return (rows.amin(1).double() >= threat.low) & (rows.amax(1).double() <= threat.high)


def require_types(threat: Ball, x: Tensor) -> None:
    """Refuse what is no ball and no tensor.

    Args:
        threat: Maybe a number or a text.
        x: Maybe a list or an array.

    Raises:
        SettingError: If the threat is no ball.
        DataError: If the inputs are no tensor.
    """
    if not isinstance(threat, Ball):
        raise SettingError(f"a threat of {threat!r} ({type(threat).__name__}); expected a ball, such as Linf(8 / 255) or L2(0.5)")
    if not isinstance(x, Tensor):
        raise DataError(f"inputs in a {type(x).__name__}; expected a tensor (B, *S) of floating-point numbers: torch.as_tensor(x)")


def require_inside(threat: Ball, x: Tensor) -> None:
    """Refuse inputs that no claim can be made about, and what is no ball.

    Args:
        threat: The ball whose box the inputs must lie in.
        x: Inputs (B, *S).

    Raises:
        DataError: If they are no tensor, not floating point, have no feature axis, or lie outside the box (NaN included).
        SettingError: If the threat is no ball, such as a number or a text.
    """
    require_types(threat, x)
    if not x.is_floating_point():
        raise DataError(f"inputs of {x.dtype}; expected floating point in [{threat.low:g}, {threat.high:g}]: divide 8-bit images by 255")
    if x.dim() < 2:
        raise DataError(f"inputs of shape {tuple(x.shape)}; expected (B, *S), a batch of at least one feature: add an axis with x[None]")
    if not x.numel():
        return
    least, greatest = (float(value) for value in torch.aminmax(x.detach()))
    if not (least >= threat.low and greatest <= threat.high):
        raise DataError(
            f"inputs reach from {least:g} to {greatest:g}; expected [{threat.low:g}, {threat.high:g}]. "
            "Give unnormalised data (put the normalisation inside the model) without NaN, or set the threat's box"
        )
