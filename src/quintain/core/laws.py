"""Samples against the law that they should follow: two-sided probabilities of what was found, exact but where they say otherwise."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def normal_p(z: float) -> float:
    """The probability that a standard normal number is at least as far from 0."""
    return math.erfc(abs(z) / math.sqrt(2))


def spread_p(mean_square: float, count: int) -> tuple[float, float]:
    """Of the mean square of so many standard normal numbers: its p-value by the chi-square law, and its z-score."""
    from scipy.special import chdtr, chdtrc

    total = count * mean_square
    return 2 * float(min(chdtr(count, total), chdtrc(count, total), 0.5)), (mean_square - 1) * math.sqrt(count / 2)


def cosine_p(one: Numbers, other: Numbers) -> tuple[float, float]:
    """Of the cosine between two independent vectors of normal numbers of mean 0, each of its own scale: p-value, and the cosine.

    For n numbers its square has the law Beta(1/2, (n - 1)/2). A vector of zeros has the cosine 0.
    """
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    cosine = float(one @ other) / lengths if lengths else 0.0
    return cosines_p(cosine, len(one)), cosine


def cosines_p(cosine: float, size: int) -> float:
    """The p-value of a cosine between vectors of so many numbers."""
    from scipy.special import betaincc

    if size < 2:
        return 1.0
    return float(betaincc(0.5, (size - 1) / 2, min(cosine * cosine, 1.0)))


def shape_p(uniform: Numbers) -> tuple[float, float]:
    """Of numbers that should be uniform in [0, 1]: Kolmogorov's p-value, for many of them, and their greatest distance from that law."""
    from scipy.special import kolmogorov

    count = len(uniform)
    ordered, ranks = np.sort(uniform), np.arange(count + 1) / count
    distance = float(np.maximum(ordered - ranks[:-1], ranks[1:] - ordered).max())
    return float(kolmogorov(distance * math.sqrt(count))), distance


def mixed_sum_p(total: float, trials: int, probability: float, deviation: float) -> float:
    """Of the sum of so many numbers, each a coin (1 with this probability, else 0) with normal noise: its p-value.

    Args:
        total: The sum.
        trials: How many numbers.
        probability: Of each coin.
        deviation: Standard deviation of each number's noise, positive.
    """
    from scipy.special import ndtr
    from scipy.stats import binom

    counts: Any = np.arange(trials + 1) if probability < 1 else np.array([trials])
    weights = binom.pmf(counts, trials, probability)
    z = (total - counts) / (deviation * math.sqrt(trials))
    below, above = float((weights * ndtr(z)).sum()), float((weights * ndtr(-z)).sum())
    return min(2 * min(below, above), 1.0)
