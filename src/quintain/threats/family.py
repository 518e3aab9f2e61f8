"""Changes that are not a distance: a sticker, a turn, a light. What the adversary chooses are parameters, and a picture is made of them."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from quintain.threats.ball import Ball, Threat, contains


@runtime_checkable
class Family(Ball, Protocol):
    """A threat whose points are parameters p (B, P); what the model is shown is ``render(x, p)``.

    Everything that a ball is asked about points, a family is asked about parameters: ``project``, ``ascend``, ``measure`` and
    ``sample`` take and give (B, P), with the images ``x`` (B, *S) beside them.
    """

    def identity(self, x: Tensor) -> Tensor:
        """Parameters (B, P) that change nothing: ``render(x, identity(x))`` is ``x``, bit for bit."""

    def render(self, x: Tensor, params: Tensor) -> Tensor:
        """The changed images (B, *S) in the box, differentiable in ``params`` where the change is."""


def identity(threat: Threat, x: Tensor) -> Tensor:
    """The adversary's point that changes nothing: the image itself, or a family's parameters."""
    return threat.identity(x) if isinstance(threat, Family) else x


def rendered(threat: Threat, z: Tensor, x: Tensor) -> Tensor:
    """The image that the adversary's point ``z`` stands for."""
    return threat.render(x, z) if isinstance(threat, Family) else z


def allowed(threat: Ball, z: Tensor, x: Tensor) -> Tensor:
    """Whether each point of the adversary is allowed for its ``x`` (B,), without tolerance; NaN is not."""
    if not isinstance(threat, Family):
        return contains(threat, z, x)
    settled = (threat.project(z, x) == z).flatten(1).all(1)
    image = threat.render(x, z).flatten(1)
    boxed = (image.amin(1).double() >= threat.low) & (image.amax(1).double() <= threat.high)
    return settled & boxed & (threat.measure(z, x) <= threat.eps)
