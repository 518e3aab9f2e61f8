"""Intervals of the mean and the median of a few independent values, whatever their distribution."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from quintain.core.statistics import check_confidence

Floats = NDArray[np.float64]


def chernoff_interval(values: Floats, confidence: float) -> tuple[float, float]:
    r"""Return an interval of the mean of independent values in [0, 1], at the confidence or more.

    .. math:: \{\mu : T\, KL(\hat\mu \,\|\, \mu) \le \ln(2 / \alpha)\}

    Guarantee: Chernoff's bound, which holds for any values in [0, 1] (Hoeffding, 1963, theorem 1).
    """
    check_confidence(confidence)
    mean, limit = float(values.mean()), math.log(2 / (1 - confidence)) / len(values)

    def divergence(other: float) -> float:
        parts = ((mean, other), (1 - mean, 1 - other))
        return sum(p * math.log(p / q) if q else math.inf for p, q in parts if p)

    def edge(inside: float, outside: float) -> float:
        # Bisection from the mean outwards; what is returned lies outside, so that rounding widens.
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if divergence(middle) <= limit else (inside, middle)
        return outside

    return (0.0 if mean == 0 else edge(mean, 0.0)), (1.0 if mean == 1 else edge(mean, 1.0))


def median_interval(values: Floats, confidence: float) -> tuple[float, float]:
    """Return an interval of the median between order statistics; unbounded where there are too few values.

    Source: David and Nagaraja, 2003, Order Statistics, section 7.1.
    """
    check_confidence(confidence)
    ordered, count = np.sort(values), len(values)
    # P[the median lies below the r-th smallest] <= P[Bin(T, 1/2) <= r - 1].
    below = binom.cdf(np.arange(count), count, 0.5)
    rank = int((below <= (1 - confidence) / 2).sum())
    return (float(ordered[rank - 1]), float(ordered[count - rank])) if rank else (-math.inf, math.inf)
