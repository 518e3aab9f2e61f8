"""Randomized smoothing as a certifier: the settings of the smoothed classifier that it makes of a model."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from quintain.certify.smoothing import SmoothedClassifier
from quintain.certify.smoothing_noise import NoiseName
from quintain.models.protocol import ClassifierLike
from quintain.results.literals import RANDOMIZED_SMOOTHING


@dataclass(frozen=True, slots=True)
class RandomizedSmoothing:
    """Certify the smoothed classifier of a model, which is a model of its own.

    Guarantee: each example's radius is false with probability at most ``alpha`` over the noise samples; see
    ``SmoothedClassifier.certify``.

    Args:
        sigma: Standard deviation of the noise, in the units of the data.
        noise_samples: Most noisy copies that are classified for one certificate; it ends when the requested
            radii are decided.
        selection_samples: Other noisy copies, drawn before, that select the class to certify.
        alpha: Probability, for each example, that its certificate is false.

    Source: Cohen, Rosenfeld and Kolter, 2019, arXiv:1902.02918.
    """

    name: ClassVar[str] = "smoothing"
    summary: ClassVar[str] = "randomized smoothing: the most frequent class under Gaussian noise, for L2"
    guarantee: ClassVar[str] = (
        "each example's radius is false with probability at most alpha over the noise samples"
    )
    title: ClassVar[str] = RANDOMIZED_SMOOTHING
    supports: ClassVar[tuple[str, ...]] = ("l2",)
    example: ClassVar[str] = "l2:0.25"
    default_rank: ClassVar[int] = 2
    subject: ClassVar[str] = "smoothed"
    noise: ClassVar[NoiseName] = "gaussian"

    sigma: float = 0.25
    noise_samples: int = 10_000
    selection_samples: int = 30
    alpha: float = 0.001

    def derive(self, model: ClassifierLike, *, surrogate_seed: int = 0) -> SmoothedClassifier:
        """Return the smoothed classifier of a model."""
        return SmoothedClassifier(
            model,
            self.sigma,
            noise_samples=self.noise_samples,
            selection_samples=self.selection_samples,
            alpha=self.alpha,
            surrogate_seed=surrogate_seed,
            noise=self.noise,
        )


class DerivingCertifier(Protocol):
    """A certification method that makes a model of its own from a model, and certifies that.

    Frozen settings, with the class variables of a ``Certifier``.
    """

    title: ClassVar[str]

    def derive(self, model: ClassifierLike, *, surrogate_seed: int = 0) -> SmoothedClassifier:
        """Return the model that is certified; ``surrogate_seed`` is of the noise in its gradients."""
