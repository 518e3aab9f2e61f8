"""Randomized smoothing by Laplace noise as a certifier of L1 balls."""

from dataclasses import dataclass
from typing import ClassVar

from quintain.certify.randomized_smoothing import RandomizedSmoothing
from quintain.certify.smoothing_noise import NoiseName
from quintain.results.literals import LAPLACE_SMOOTHING


@dataclass(frozen=True, slots=True)
class LaplaceSmoothing(RandomizedSmoothing):
    """Certify the smoothed classifier of a model under Laplace noise, which is a model of its own.

    Its radius grows as the votes agree, up to 12 scales, where uniform noise ends at its half width; of votes
    that agree less, uniform noise of the same deviation proves more (up to a probability of 0.94).

    Guarantee: each example's radius is false with probability at most ``alpha`` over the noise samples; see
    ``SmoothedClassifier.certify``.

    Args:
        sigma: Standard deviation of the noise, in the units of the data: its scale times the square root of
            2.
        noise_samples, selection_samples, alpha: As of ``RandomizedSmoothing``.

    Source: Teng, Lee and Yuan, 2020, "l1 adversarial robustness certificates"; Laplace noise: Lecuyer et al.,
    2019, arXiv:1802.03471.
    """

    name: ClassVar[str] = "laplace-smoothing"
    summary: ClassVar[str] = "randomized smoothing: the most frequent class under Laplace noise, for L1"
    title: ClassVar[str] = LAPLACE_SMOOTHING
    supports: ClassVar[tuple[str, ...]] = ("l1",)
    example: ClassVar[str] = "l1:0.25"
    default_rank: ClassVar[int] = 9
    noise: ClassVar[NoiseName] = "laplace"
