"""The interface of certifiers, their result, and the check of labels that they share."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from quintain.core.errors import DataError
from quintain.models.protocol import ClassifierLike
from quintain.threats.threat import Threat


@dataclass(frozen=True, slots=True)
class CertificateOutcome:
    """The certificates of B examples; of an example without one nothing is known.

    Args:
        certified: (B,) bool, no allowed change makes the model predict anything but ``y``.
        margin: (B,) float64, lower bound, over all inputs in the ball, of the score of ``y`` minus the
            largest other score. Scores are logits for interval bounds and class probabilities for smoothing.
            Greater than 0 exactly where ``certified``; -inf where nothing is known.
        radius: (B,) float64, certified radius in the units of the data, 0 where there is none; None for
            certifiers of one given threat.
        forwards: (B,) long, forward passes of the model that an example took.
        assumptions: What the proof assumes.
        failed: (B,) bool, the model returned NaN or infinity for the example: it counts neither as certified
            nor as broken.
        abstained_radius: (B,) float64, the largest requested radius that the allowed noise samples did not
            decide, 0 where they decided all; None for certifiers that draw none.
        counterexample: (B, *S), an allowed input that the model itself gets wrong, NaN where none was found;
            None for certifiers that look for none.
    """

    certified: Tensor
    margin: Tensor
    radius: Tensor | None
    forwards: Tensor
    assumptions: tuple[str, ...]
    failed: Tensor
    abstained_radius: Tensor | None = None
    counterexample: Tensor | None = None

    @property
    def broken(self) -> Tensor:
        """(B,) bool, a counterexample was found."""
        if self.counterexample is None:
            return torch.zeros_like(self.certified)
        return ~self.counterexample.flatten(1).isnan().any(1)

    def __repr__(self) -> str:
        facts = [f"{len(self.certified)} examples", f"{int(self.certified.sum())} certified"]
        facts += [f"{int(self.broken.sum())} broken"] * bool(self.broken.any())
        facts += [f"{int(self.failed.sum())} failed"] * bool(self.failed.any())
        return f"CertificateOutcome({', '.join(facts)})"


class Certifier(Protocol):
    """A certification method for the balls of norms: a frozen value of settings, called with a model.

    One with a ``summary`` is registered. What it says of itself are class variables, written there and
    nowhere else: ``name``; ``summary``, one line for ``quintain list``; ``guarantee``; ``title``, its name in
    results; ``supports``, the kinds of threats that it proves; ``example``, the threat that it takes where
    none was named; ``default_rank``, its place among the certifiers that are taken where none was named, from
    1; ``cost``, ``cheap`` or ``expensive``: of the latter no radii are searched for but those that are
    asked; ``subject``, what it certifies: the ``model``, or one that it makes of it by ``derive``,
    ``smoothed`` by noise or ``ablated`` by bands; ``exemptions``, laws that it cannot keep,
    each with the reason. One with a setting ``seconds`` may take so many for each example, and is given few
    at a time.
    """

    def __call__(
        self, model: ClassifierLike, x: Tensor, y: Tensor, threat: Threat, *, eps: Tensor | None = None
    ) -> CertificateOutcome:
        """Certify ``x`` (B, *S) with labels ``y`` (B,); ``eps`` (B,) gives radii in place of the threat's."""


@runtime_checkable
class TracingCertifier(Protocol):
    """A certifier that traces a model first, once for all calls on that model."""

    def trace(self, model: ClassifierLike) -> Callable[..., CertificateOutcome]:
        """Trace a model, and return a function that certifies it: a ``Certifier``'s call without ``model``.

        The function refuses a model that has changed since.
        """


def is_expensive(certifier: Certifier) -> bool:
    """Whether a certifier says of itself that it takes long."""
    return bool(getattr(certifier, "cost", "cheap") == "expensive")


def takes_seconds(certifier: Certifier) -> bool:
    """Whether a certifier may take some seconds for one example, such as a search."""
    return hasattr(certifier, "seconds")


def tracing(certifier: Certifier, model: ClassifierLike) -> Callable[..., CertificateOutcome]:
    """Return a certifier's call without ``model``: what can be traced is, once for all calls."""
    return certifier.trace(model) if isinstance(certifier, TracingCertifier) else partial(certifier, model)


def require_labels(x: Tensor, y: Tensor, num_classes: int) -> None:
    """Refuse labels that are not one of the model's classes for each example.

    Args:
        x: Inputs (B, *S).
        y: Labels (B,) long.
        num_classes: The model's number of classes.

    Raises:
        DataError: If ``y`` is no tensor, has another shape or type, or holds a class out of range.
    """
    if not isinstance(y, Tensor):
        raise DataError(
            f"labels in a {type(y).__name__}; expected a tensor ({len(x)},) of torch.int64: "
            "torch.as_tensor(y)"
        )
    if y.shape != x.shape[:1] or y.dtype != torch.long:
        raise DataError(
            f"labels of shape {tuple(y.shape)} and {y.dtype}; expected ({len(x)},) torch.int64, one class "
            "per input"
        )
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < num_classes:
        raise DataError(
            f"labels from {int(y.min())} to {int(y.max())}; expected classes 0 to {num_classes - 1} of the "
            "model"
        )
