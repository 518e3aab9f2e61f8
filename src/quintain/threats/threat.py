"""The protocol of all threats, and the one test of whether a point is allowed."""

from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from quintain.core.errors import DataError, SettingError
from quintain.threats.rng import ExampleRNG

ProjectionCache = tuple[Tensor, ...]
"""What a threat computes once about ``x`` for many projections: tensors whose first axis is the example."""


@runtime_checkable
class Threat(Protocol):
    """A threat model: what an adversary may change, as a frozen value that equals what its text is read as.

    The points of a ball are images (B, *S) of the box [low, high] within ``eps`` of ``x``. For a
    ``ParametricThreat`` the points are parameters (B, P). ``x`` is always the clean images, in the box.
    """

    @property
    def spec(self) -> str:
        """The exact text of this threat, such as ``linf:8/255``."""

    @classmethod
    def from_spec(cls, text: str) -> Self:
        """Return the threat whose spec has ``text`` after the colon."""

    @property
    def eps(self) -> float:
        """Radius, in the units of the data."""

    @property
    def low(self) -> float:
        """Least value of the data."""

    @property
    def high(self) -> float:
        """Greatest value of the data."""

    def projection_cache(self, x: Tensor) -> ProjectionCache:
        """Compute what ``project`` needs of ``x``, once for many projections.

        Index it to keep some of the examples.
        """

    def project(self, z: Tensor, x: Tensor, cache: ProjectionCache | None = None) -> Tensor:
        """Return the allowed point nearest to ``z`` in L2; projecting again changes no bit."""

    def steepest_step(self, gradient: Tensor, size: float) -> Tensor:
        """Return the change of size ``size`` that raises a linear function most.

        0 where the gradient is 0.
        """

    def measure(self, z: Tensor, x: Tensor) -> Tensor:
        """Return the size of the change per example (B,), in float64."""

    def describe_size(self, size: float) -> str:
        """Return the size of a change, for people."""

    def sample(self, x: Tensor, rng: ExampleRNG, cache: ProjectionCache | None = None) -> Tensor:
        """Return a random allowed point for each example."""


def contains(threat: Threat, z: Tensor, x: Tensor) -> Tensor:
    """Whether each ``z`` is allowed for its ``x`` (B,), without tolerance.

    It is where the size of its change, in float64, is at most ``eps`` and it is in the box; NaN never is.
    """
    z, x = z.detach(), x.detach()
    return in_box(threat, z) & (threat.measure(z, x) <= threat.eps)


def in_box(threat: Threat, z: Tensor) -> Tensor:
    """Whether each image (B, *S) is in the data box (B,), in float64; NaN is not."""
    flat = z.flatten(1)
    return (flat.amin(1).double() >= threat.low) & (flat.amax(1).double() <= threat.high)


def check_types(threat: Threat, x: Tensor) -> None:
    """Raise if the threat is no threat or the inputs are no tensor.

    Args:
        threat: Maybe a number or a text.
        x: Maybe a list or an array.

    Raises:
        SettingError: If the threat is no ball.
        DataError: If the inputs are no tensor.
    """
    if not isinstance(threat, Threat):
        raise SettingError(
            f"a threat of {threat!r} ({type(threat).__name__}); expected a ball, such as Linf(8 / 255) or "
            "L2(0.5)"
        )
    if not isinstance(x, Tensor):
        raise DataError(
            f"inputs in a {type(x).__name__}; expected a tensor (B, *S) of floating-point numbers: "
            "torch.as_tensor(x)"
        )


def check_in_box(threat: Threat, x: Tensor) -> None:
    """Raise if inputs are not floating-point tensors in the box of the threat.

    Args:
        threat: The ball whose box the inputs must lie in.
        x: Inputs (B, *S).

    Raises:
        DataError: If they are no tensor, not floating point, have no feature axis, or lie outside the box
            (NaN included).
        SettingError: If the threat is no ball, such as a number or a text.
    """
    check_types(threat, x)
    if not x.is_floating_point():
        raise DataError(
            f"inputs of {x.dtype}; expected floating point in [{threat.low:g}, {threat.high:g}]: divide "
            "8-bit images by 255"
        )
    if x.dim() < 2:
        raise DataError(
            f"inputs of shape {tuple(x.shape)}; expected (B, *S), a batch of at least one feature: add an "
            "axis with x[None]"
        )
    if not x.numel():
        return
    least, greatest = (float(value) for value in torch.aminmax(x.detach()))
    if not (least >= threat.low and greatest <= threat.high):
        raise DataError(
            f"inputs reach from {least:g} to {greatest:g}; expected [{threat.low:g}, {threat.high:g}]. "
            "Give unnormalized data (put the normalization inside the model) without NaN, or set the "
            "threat's box"
        )
