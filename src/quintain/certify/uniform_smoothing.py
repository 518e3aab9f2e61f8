"""Randomized smoothing by uniform noise as a certifier of L1 balls."""

from dataclasses import dataclass
from typing import ClassVar

from quintain.certify.smoothing import SmoothedClassifier
from quintain.models.protocol import ClassifierLike
from quintain.results.literals import UNIFORM_SMOOTHING


@dataclass(frozen=True, slots=True)
class UniformSmoothing:
    """Certify the smoothed classifier of a model under uniform noise, which is a model of its own.

    Guarantee: each example's radius is false with probability at most ``alpha`` over the noise samples; see
    ``SmoothedClassifier.certify``.

    Args:
        sigma: Standard deviation of the noise, in the units of the data: its half width over the square root
            of 3.
        noise_samples: Most noisy copies that are classified for one certificate; it ends when the asked radii
            are decided.
        selection_samples: Other noisy copies, drawn before, that select the class to certify.
        alpha: Probability, for each example, that its certificate is false.

    Source: Yang et al., 2020, arXiv:2002.08118.
    """

    name: ClassVar[str] = "uniform-smoothing"
    summary: ClassVar[str] = "randomized smoothing: the most frequent class under uniform noise, for L1"
    guarantee: ClassVar[str] = (
        "each example's radius is false with probability at most alpha over the noise samples"
    )
    title: ClassVar[str] = UNIFORM_SMOOTHING
    supports: ClassVar[tuple[str, ...]] = ("l1",)
    example: ClassVar[str] = "l1:0.25"
    default_rank: ClassVar[int] = 8
    subject: ClassVar[str] = "smoothed"

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
            noise="uniform",
        )
