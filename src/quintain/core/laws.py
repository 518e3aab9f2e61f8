"""Two-sided p-values of samples under the law they should follow; exact unless a docstring says otherwise."""

import math
from collections.abc import Sequence
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
    return 2 * float(min(chdtr(count, total), chdtrc(count, total), 0.5)), (mean_square - 1) * math.sqrt(
        count / 2
    )


LARGEST = 37.0
"""Normal numbers beyond this have probabilities that no number of a computer holds."""


def ranked(totals: Numbers, counts: Numbers) -> Numbers:
    """Return sums of squares of ``counts`` normal numbers as normal numbers of the same rank.

    Standard normal numbers, both.
    """
    from scipy.special import chdtr, chdtrc, ndtri

    below, above = chdtr(counts, totals), chdtrc(counts, totals)
    return np.clip(np.where(below < above, ndtri(below), -ndtri(above)), -LARGEST, LARGEST)


def from_mean(totals: Numbers, counts: Numbers) -> Numbers:
    """Return how far such sums are from their mean ``counts``, as half-normal numbers of the same rank.

    0 where one is exactly that.
    """
    from scipy.special import chdtr, chdtrc, erfinv, ndtri

    low, high = np.maximum(2 * counts - totals, 0.0), totals
    low, high = np.minimum(low, high), np.maximum(low, high)
    within, beyond = chdtr(counts, high) - chdtr(counts, low), chdtr(counts, low) + chdtrc(counts, high)
    return np.where(
        within < 0.5,
        math.sqrt(2) * erfinv(np.clip(within, 0.0, 0.5)),
        np.minimum(-ndtri(beyond / 2), LARGEST),
    )


def sizes(z: Numbers) -> Numbers:
    """Return the magnitudes of standard normal numbers as standard normal numbers of the same rank."""
    from scipy.special import erfc, ndtri

    return np.clip(-ndtri(erfc(np.abs(z) / math.sqrt(2))), -LARGEST, LARGEST)


def anew(z: Numbers) -> Numbers:
    """Return the distance of each row from the span of the rows before it, as a standard normal number.

    If there are fewer columns than rows, it is done for the columns.

    Of rows of n independent standard normal numbers, the squared distance of the i-th from the space of all
    before it is chi-square of n - i + 1 degrees of freedom, and these distances are independent.

    Source: Bartlett's decomposition; Muirhead, Aspects of Multivariate Statistical Theory, 1982, theorem
    3.2.14.
    """
    z = z if len(z) <= z.shape[1] else z.T
    lengths = np.diagonal(np.linalg.qr(z.T, mode="r"))
    return ranked(np.square(lengths), z.shape[1] - np.arange(len(z), dtype=np.float64))


def exact_p(groups: Sequence[Numbers], near: Sequence[Numbers] | None = None) -> tuple[float, float]:
    """Return the p-value of groups of standard normal numbers, with a root mean square.

    Too exact is as wrong as too far.

    Numbers of a group are independent; groups may be of the same numbers. Of each are looked at: the sum; the
    sum of squares, from 0 and from the mean of its column; the farthest number; the nearest one; and the sum
    of squares once more, of how near they are. What is given is the smallest of these six p-values, times how
    many there are of all groups, and the root mean square of its group.

    Args:
        groups: Numbers, or tables of them whose columns hold what may have a common value.
        near: Distances from what noise comes to on average, as half-normal numbers: 0 where it always comes
            to exactly that. By default of the numbers from 0; for sums of squares, whose median is not their
            mean, ``from_mean``.
    """
    from scipy.special import chdtr, erf

    found = []
    for x, apart in zip(groups, map(np.abs, groups) if near is None else near, strict=True):
        mean_square, columns = float(np.square(x).mean()), x.size // len(x)
        rest = (len(x) - 1) * columns
        steady = float(np.square(x - x.mean(axis=0)).sum())
        p_values = (
            normal_p(float(x.sum()) / math.sqrt(x.size)),
            spread_p(mean_square, x.size)[0],
            spread_p(steady / rest, rest)[0] if rest else 1.0,
            x.size * normal_p(float(np.abs(x).max())),
            x.size * float(erf(apart.min() / math.sqrt(2))),
            float(chdtr(x.size, float(np.square(apart).sum()))),
        )
        found.append((float(np.nan_to_num(np.min(p_values))), math.sqrt(mean_square)))
    p_value, spread = min(found)
    return min(1.0, len(p_values) * len(groups) * p_value), spread


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


def alike_p(products: Numbers, one: Numbers, other: Numbers, counts: Numbers, rounding: float) -> Numbers:
    r"""P-values of how alike the two vectors of each pair are, of independent standard normal numbers.

    Twice the smaller of two: of their distance, since :math:`|x - y|^2 / 2` is chi-square of n degrees of
    freedom, which tells equal vectors from a single number on, as far as rounding lets it; and, from three
    numbers on, of their cosine (see ``cosine_p``), which tells vectors that are equal in part.

    Args:
        products: Inner product of each pair.
        one, other: Squared length of each vector.
        counts: n, the numbers in each vector of a pair.
        rounding: By how much two numbers may differ that are equal but for their format; it is added to the
            distance, and taken off the cosine.
    """
    from scipy.special import betaincc, chdtr

    apart = np.sqrt(np.maximum(one + other - 2 * products, 0) / 2) + rounding * np.sqrt(counts)
    lengths = np.sqrt(np.maximum(one * other, np.finfo(np.float64).tiny))
    squares = np.minimum(np.square(products / lengths * (1 - rounding**2 / 2)), 1.0)
    by_cosine = np.where(counts > 2, betaincc(0.5, np.maximum(counts - 1, 1) / 2, squares), 1.0)
    return np.asarray(np.minimum(1.0, 2 * np.minimum(chdtr(counts, np.square(apart)), by_cosine)))


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


BEYOND = (2.5, 3.0, 3.5, 4.0, 4.5)
"""Standard deviations beyond which normal numbers are counted; a millionth further, lest rounding puts a cut
beyond itself.
"""


def tails_p(z: Numbers) -> tuple[float, float, int, float]:
    """Return the p-value of how many standard normal numbers lie beyond each of ``BEYOND``.

    They are counted below, above and on either side. The p-value is the smallest of these binomial tests
    times their number.

    Returns:
        The p-value, and of the test with the smallest one: the bound, the count beyond it and the expected
        count.
    """
    from scipy.special import bdtr, bdtrc, ndtr

    found = []
    for bound in BEYOND:
        reach = bound * (1 + 1e-6)
        below, above, tail = int((z < -reach).sum()), int((z > reach).sum()), float(ndtr(-reach))
        for count, chance in ((below, tail), (above, tail), (below + above, 2 * tail)):
            more = float(bdtrc(count - 1, z.size, chance)) if count else 1.0
            found.append(
                (2 * min(float(bdtr(count, z.size, chance)), more, 0.5), bound, count, z.size * chance)
            )
    p_value, bound, count, expected = min(found)
    return min(1.0, len(found) * p_value), bound, count, expected


def crowded_p(uniform: Numbers, within: float) -> tuple[float, int, float]:
    """Bound the p-value of how many gaps between uniform numbers in [0, 1] are below ``within``.

    A gap is below it with probability 1 - (1 - within)^n. Gaps are negatively associated, so Chernoff's bound
    for the binomial law holds for their count. Only too many are significant: numbers from a grid have them.

    Returns:
        The bound, the count and the expected count.

    Source: Joag-Dev and Proschan, Negative Association of Random Variables, Annals of Statistics 11, 1983.
    """
    gaps = np.diff(np.sort(uniform))
    count, trials = int((gaps < within).sum()), len(gaps)
    probability = -math.expm1(len(uniform) * math.log1p(-within))
    observed = count / trials if trials else 0.0
    if observed <= probability:
        return 1.0, count, trials * probability
    # Chernoff: P(count >= trials * q) <= exp(-trials * KL(q || p)) for q above p
    divergence = observed * math.log(observed / probability) + (
        (1 - observed) * math.log((1 - observed) / (1 - probability)) if observed < 1 else 0.0
    )
    return math.exp(-trials * divergence), count, trials * probability


def repeated_p(z: Numbers, counted: NDArray[np.bool_] | None = None) -> tuple[float, int, float]:
    r"""Bound the p-value of the largest correlation of a series with itself over all distances.

    That distance and that correlation are returned with it.

    The sum S over m pairs at one distance is a quadratic form, by half of the adjacency matrix of a graph of
    paths: its eigenvalues are within [-1, 1], each with its negative, and their squares add up to m/2. So,
    since :math:`-\ln(1 - u)` is convex, :math:`\ln E e^{\theta S} \le -\frac m8 \ln(1 - 4 \theta^2)`, and by
    Chernoff, with :math:`s = \sqrt{1 + 16 x^2 / m^2}`,

    .. math:: P[|S| \ge x] \le 2 \exp\Big(-\frac m8 \big(s - 1 - \ln \tfrac{1 + s}2\big)\Big).

    What is given is the smallest of these, times how many distances there are: a bound for any count of
    numbers, not for many alone.

    Args:
        z: Standard normal, by what is claimed.
        counted: Which of them are looked at, where not all are.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    size = next_fast_len(2 * len(z), real=True)

    def products(x: Numbers) -> Numbers:
        transformed = rfft(x, size)
        return np.asarray(
            irfft(transformed.real**2 + transformed.imag**2, size)[1 : len(z)], dtype=np.float64
        )

    sums = products(z if counted is None else np.where(counted, z, 0.0))
    pairs = (
        np.arange(len(z) - 1.0, 0.0, -1.0)
        if counted is None
        else products(counted.astype(np.float64)).round()
    )
    distances = np.flatnonzero(pairs > 0)
    if not len(distances):
        return 1.0, 0, 0.0
    sums, pairs = sums[distances], pairs[distances]
    s = np.sqrt(1 + 16 * (sums / pairs) ** 2)
    exponents = pairs / 8 * (s - 1 - np.log((1 + s) / 2))
    at = int(exponents.argmax())
    p_value = float(np.minimum(1.0, 2 * len(distances) * np.exp(-exponents[at])))
    return p_value, int(distances[at]) + 1, float(sums[at] / pairs[at])
