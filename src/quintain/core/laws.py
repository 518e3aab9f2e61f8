"""Two-sided p-values of samples under the law they should follow; exact unless a docstring says otherwise."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def normal_p(z: float) -> float:
    """The two-sided p-value of a standard normal number."""
    return math.erfc(abs(z) / math.sqrt(2))


def spread_p(mean_square: float, count: int) -> tuple[float, float]:
    """The p-value (chi-square) and the z-score of the mean square of ``count`` standard normal numbers."""
    from scipy.special import chdtr, chdtrc

    total = count * mean_square
    return 2 * float(min(chdtr(count, total), chdtrc(count, total), 0.5)), (mean_square - 1) * math.sqrt(count / 2)


def cosine_p(one: Numbers, other: Numbers) -> tuple[float, float]:
    """The p-value of the cosine between two vectors, and the cosine itself (0 if a vector is zero).

    The law is that of independent vectors of normal numbers of mean 0; the numbers of one vector share a
    scale.
    """
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    cosine = float(one @ other) / lengths if lengths else 0.0
    return cosines_p(cosine, len(one)), cosine


def cosines_p(cosine: float, size: int) -> float:
    """The p-value of a cosine that is known already, between vectors of ``size`` numbers as in ``cosine_p``.

    For vectors of n numbers, the square of the cosine has the law Beta(1/2, (n - 1)/2).
    """
    from scipy.special import betaincc

    if size < 2:
        return 1.0
    return float(betaincc(0.5, (size - 1) / 2, min(cosine * cosine, 1.0)))


def shape_p(uniform: Numbers) -> tuple[float, float]:
    """Kolmogorov's p-value of numbers that should be uniform in [0, 1], and their greatest distance from it.

    The p-value is the limit for many numbers.
    """
    from scipy.special import kolmogorov

    count = len(uniform)
    ordered, ranks = np.sort(uniform), np.arange(count + 1) / count
    distance = float(np.maximum(ordered - ranks[:-1], ranks[1:] - ordered).max())
    return float(kolmogorov(distance * math.sqrt(count))), distance


def mixed_sum_p(total: float, trials: int, probability: float, deviation: float) -> float:
    """The p-value of a sum of ``trials`` coins (1 with ``probability``, else 0), each with normal noise.

    Args:
        total: The sum.
        trials: How many numbers.
        probability: That a coin is 1.
        deviation: Standard deviation of each number's noise, positive.
    """
    from scipy.special import ndtr
    from scipy.stats import binom

    # given how many coins are 1, the sum is normal around that count: average its tails over the binomial law
    # of the count
    counts: Any = np.arange(trials + 1) if probability < 1 else np.array([trials])
    weights = binom.pmf(counts, trials, probability)
    z = (total - counts) / (deviation * math.sqrt(trials))
    below, above = float((weights * ndtr(z)).sum()), float((weights * ndtr(-z)).sum())
    return min(2 * min(below, above), 1.0)
