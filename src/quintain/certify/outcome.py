"""What a certifier returns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from quintain.models.protocol import ClassifierLike
from quintain.threats.threat import Threat


@dataclass(frozen=True, slots=True)
class CertificateOutcome:
    """What was proven of each of B examples; whatever is not proven is open, and never an error of the model.

    Args:
        certified: (B,) bool, no allowed change makes the model answer anything but ``y``.
        margin: (B,) float64, a lower bound on the true class' score minus the best other one over the whole threat; positive exactly
            where certified, ``-inf`` where nothing is known.
        radius: (B,) float64, the largest radius proven in the units of the data, 0 where none is; None for certifiers of one given threat.
        cost: (B,) long, forward passes of the network that an example took.
        assumes: What the proof rests on.
        error: (B,) bool, the model returned NaN or infinity for the example: it counts neither as safe nor as broken.
    """

    certified: Tensor
    margin: Tensor
    radius: Tensor | None
    cost: Tensor
    assumes: tuple[str, ...]
    error: Tensor


class Certifier(Protocol):
    """A proof method for balls: frozen settings, callable, without a model inside."""

    def __call__(self, model: ClassifierLike, x: Tensor, y: Tensor, threat: Threat, *, eps: Tensor | None = None) -> CertificateOutcome:
        """Prove what can be proven of ``x`` (B, *S) and labels ``y`` (B,); ``eps`` (B,) is a radius each, in place of the threat's."""


@runtime_checkable
class Reader(Protocol):
    """A certifier that reads a model first, which is done once for all calls on one model."""

    def read(self, model: ClassifierLike) -> Callable[..., CertificateOutcome]:
        """A call with the arguments of ``Certifier`` but for the model; it notices a model that is another one than was read."""
