"""Randomized smoothing by uniform noise as a certifier of L1 balls."""

from dataclasses import dataclass
from typing import ClassVar

from quintain.certify.randomized_smoothing import RandomizedSmoothing
from quintain.certify.smoothing_noise import NoiseName
from quintain.results.literals import UNIFORM_SMOOTHING


@dataclass(frozen=True, slots=True)
class UniformSmoothing(RandomizedSmoothing):
    """Certify the smoothed classifier of a model under uniform noise, which is a model of its own.

    Guarantee: each example's radius is false with probability at most ``alpha`` over the noise samples; see
    ``SmoothedClassifier.certify``.

    Args:
        sigma: Standard deviation of the noise, in the units of the data: its half width over the square root
            of 3.
        noise_samples, selection_samples, alpha: As of ``RandomizedSmoothing``.

    Source: Yang et al., 2020, arXiv:2002.08118.
    """

    name: ClassVar[str] = "uniform-smoothing"
    summary: ClassVar[str] = "randomized smoothing: the most frequent class under uniform noise, for L1"
    title: ClassVar[str] = UNIFORM_SMOOTHING
    supports: ClassVar[tuple[str, ...]] = ("l1",)
    example: ClassVar[str] = "l1:0.25"
    default_rank: ClassVar[int] = 8
    noise: ClassVar[NoiseName] = "uniform"
