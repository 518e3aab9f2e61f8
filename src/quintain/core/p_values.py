"""P-values of samples under the distribution that they should have: two-sided, and exact unless a docstring
says otherwise.

A function named ``..._test`` returns a p-value and its statistic; one named ``..._to_normal`` maps a
statistic to the standard normal number with the same probability below it (its normal score).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def normal_p_value(z: float) -> float:
    """Return the two-sided p-value of a standard normal number."""
    return math.erfc(abs(z) / math.sqrt(2))


def chi_square_test(mean_square: float, count: int) -> tuple[float, float]:
    """Return the p-value (chi-square) and the z-score of the mean square of ``count`` normal numbers."""
    from scipy.special import chdtr, chdtrc

    total = count * mean_square
    return 2 * float(min(chdtr(count, total), chdtrc(count, total), 0.5)), (mean_square - 1) * math.sqrt(
        count / 2
    )


MAX_SCORE = 37.0
"""Normal scores are cut off here: tail probabilities beyond it come near the smallest float64."""


def chi_square_to_normal(totals: Numbers, counts: Numbers) -> Numbers:
    """Return the normal scores of chi-square ``totals`` with ``counts`` degrees of freedom."""
    from scipy.special import chdtr, chdtrc, ndtri

    below, above = chdtr(counts, totals), chdtrc(counts, totals)
    return np.clip(np.where(below < above, ndtri(below), -ndtri(above)), -MAX_SCORE, MAX_SCORE)


def mean_deviations_to_half_normal(totals: Numbers, counts: Numbers) -> Numbers:
    """Return how far chi-square ``totals`` are from their means ``counts``, as half-normal numbers.

    The half-normal number has the same probability below it as the distance has; it is 0 where a total equals
    its mean.
    """
    from scipy.special import chdtr, chdtrc, erfinv, ndtri

    low, high = np.maximum(2 * counts - totals, 0.0), totals
    low, high = np.minimum(low, high), np.maximum(low, high)
    within, beyond = chdtr(counts, high) - chdtr(counts, low), chdtr(counts, low) + chdtrc(counts, high)
    return np.where(
        within < 0.5,
        math.sqrt(2) * erfinv(np.clip(within, 0.0, 0.5)),
        np.minimum(-ndtri(beyond / 2), MAX_SCORE),
    )


def magnitudes_to_normal(z: Numbers) -> Numbers:
    """Return the normal scores of the magnitudes of standard normal numbers."""
    from scipy.special import erfc, ndtri

    return np.clip(-ndtri(erfc(np.abs(z) / math.sqrt(2))), -MAX_SCORE, MAX_SCORE)


def residuals_to_normal(z: Numbers) -> Numbers:
    """Return the normal score of each row's distance from the span of the rows before it.

    If there are fewer columns than rows, the columns are taken instead.

    Of rows of n independent standard normal numbers, the squared distance of the i-th from the space of all
    before it is chi-square of n - i + 1 degrees of freedom, and these distances are independent.

    Source: Bartlett's decomposition; Muirhead, Aspects of Multivariate Statistical Theory, 1982, theorem
    3.2.14.
    """
    z = z if len(z) <= z.shape[1] else z.T
    lengths = np.diagonal(np.linalg.qr(z.T, mode="r"))
    return chi_square_to_normal(np.square(lengths), z.shape[1] - np.arange(len(z), dtype=np.float64))


def omnibus_test(
    groups: Sequence[Numbers], deviations: Sequence[Numbers] | None = None
) -> tuple[float, float]:
    """Return the p-value of groups of standard normal numbers, and the root mean square of the least likely.

    The test rejects numbers that vary too little as well as numbers that vary too much. The numbers of a
    group are independent; several groups may be computed from the same numbers. Each group is tested by its
    sum, its sum of squares, its sum of squares around the column means, its largest magnitude, its smallest
    deviation and its sum of squared deviations. The p-value is the smallest of all, times their number
    (Bonferroni).

    Args:
        groups: Vectors, or tables in whose columns the numbers may share a value by mistake.
        deviations: Deviations of each group's numbers from their expectation, as half-normal numbers: 0 for
            a number that equals it. By default the magnitudes of the numbers; for chi-square sums, whose
            normal score is not 0 at their mean, ``mean_deviations_to_half_normal``.
    """
    from scipy.special import chdtr, erf

    found = []
    for x, deviation in zip(groups, map(np.abs, groups) if deviations is None else deviations, strict=True):
        mean_square, columns = float(np.square(x).mean()), x.size // len(x)
        degrees = (len(x) - 1) * columns
        around_means = float(np.square(x - x.mean(axis=0)).sum())
        p_values = (
            normal_p_value(float(x.sum()) / math.sqrt(x.size)),
            chi_square_test(mean_square, x.size)[0],
            chi_square_test(around_means / degrees, degrees)[0] if degrees else 1.0,
            x.size * normal_p_value(float(np.abs(x).max())),
            x.size * float(erf(deviation.min() / math.sqrt(2))),
            float(chdtr(x.size, float(np.square(deviation).sum()))),
        )
        found.append((float(np.nan_to_num(np.min(p_values))), math.sqrt(mean_square)))
    p_value, root_mean_square = min(found)
    return min(1.0, len(p_values) * len(groups) * p_value), root_mean_square


def cosine_test(one: Numbers, other: Numbers) -> tuple[float, float]:
    """Return the p-value of the cosine between two vectors, and the cosine (0 if a vector is zero).

    Under the null hypothesis the vectors are independent, each of independent normal numbers of mean 0 and
    one variance.
    """
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    cosine = float(one @ other) / lengths if lengths else 0.0
    return cosine_p_value(cosine, len(one)), cosine


def cosine_p_value(cosine: float, size: int) -> float:
    """Return the p-value of a cosine between two vectors of ``size`` numbers, as in ``cosine_test``.

    For vectors of n numbers, the square of the cosine has a Beta(1/2, (n - 1)/2) distribution.
    """
    from scipy.special import betaincc

    if size < 2:
        return 1.0
    return float(betaincc(0.5, (size - 1) / 2, min(cosine * cosine, 1.0)))


def similarity_p_values(
    products: Numbers, one: Numbers, other: Numbers, counts: Numbers, rounding: float
) -> Numbers:
    r"""Return a p-value of the similarity of two independent standard normal vectors, for each pair.

    It is twice the smaller of two p-values. That of the distance, where :math:`|x - y|^2 / 2` is chi-square
    with n degrees of freedom, finds equal vectors, even of one number; that of the cosine (see
    ``cosine_test``), which is used from n = 3 on, finds vectors that are equal in part.

    Args:
        products: Inner product of each pair.
        one, other: Squared length of each vector.
        counts: n, the numbers in each vector of a pair.
        rounding: By how much equal numbers may differ after rounding to their format. The distance is raised
            and the cosine lowered by it, which makes no p-value smaller than it would be without rounding.
    """
    from scipy.special import betaincc, chdtr

    distances = np.sqrt(np.maximum(one + other - 2 * products, 0) / 2) + rounding * np.sqrt(counts)
    lengths = np.sqrt(np.maximum(one * other, np.finfo(np.float64).tiny))
    squares = np.minimum(np.square(products / lengths * (1 - rounding**2 / 2)), 1.0)
    by_cosine = np.where(counts > 2, betaincc(0.5, np.maximum(counts - 1, 1) / 2, squares), 1.0)
    return np.asarray(np.minimum(1.0, 2 * np.minimum(chdtr(counts, np.square(distances)), by_cosine)))


def kolmogorov_test(uniform: Numbers) -> tuple[float, float]:
    """Return the p-value and the statistic of the Kolmogorov-Smirnov test of uniform numbers in [0, 1].

    The p-value is the limit for many numbers.
    """
    from scipy.special import kolmogorov

    count = len(uniform)
    ordered, ranks = np.sort(uniform), np.arange(count + 1) / count
    distance = float(np.maximum(ordered - ranks[:-1], ranks[1:] - ordered).max())
    return float(kolmogorov(distance * math.sqrt(count))), distance


def noisy_binomial_p_value(total: float, trials: int, probability: float, deviation: float) -> float:
    """Return the p-value of a sum of ``trials`` coins (1 with ``probability``), each with normal noise.

    Args:
        total: The sum.
        trials: Number of coins.
        probability: Probability of a 1.
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


TAIL_BOUNDS = (2.5, 3.0, 3.5, 4.0, 4.5)
"""Standard deviations beyond which normal numbers are counted."""


def tail_test(z: Numbers) -> tuple[float, float, int, float]:
    """Test how many standard normal numbers lie beyond each of ``TAIL_BOUNDS``.

    They are counted below, above and on both sides together. The p-value is the smallest of these binomial
    tests, times their number.

    Returns:
        The p-value, and of the test with the smallest one: the bound, the count beyond it and the expected
        count.
    """
    from scipy.special import bdtr, bdtrc, ndtr

    found = []
    for bound in TAIL_BOUNDS:
        # A number that was clipped to the bound may be rounded to just above it: it must not be counted.
        reach = bound * (1 + 1e-6)
        below, above, tail = int((z < -reach).sum()), int((z > reach).sum()), float(ndtr(-reach))
        for count, chance in ((below, tail), (above, tail), (below + above, 2 * tail)):
            more = float(bdtrc(count - 1, z.size, chance)) if count else 1.0
            found.append(
                (2 * min(float(bdtr(count, z.size, chance)), more, 0.5), bound, count, z.size * chance)
            )
    p_value, bound, count, expected = min(found)
    return min(1.0, len(found) * p_value), bound, count, expected


def small_gap_test(uniform: Numbers, within: float) -> tuple[float, int, float]:
    """Test whether too many gaps between uniform numbers in [0, 1] are smaller than ``within``.

    A gap is smaller with probability 1 - (1 - within)^n. Gaps are negatively associated, so Chernoff's bound
    for the binomial distribution holds for their count. Only too many are significant: numbers from a grid
    have them.

    Returns:
        An upper bound on the p-value, the count and the expected count.

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


def autocorrelation_test(z: Numbers, mask: NDArray[np.bool_] | None = None) -> tuple[float, int, float]:
    r"""Test the autocorrelation of a series at all lags.

    The sum S over the m pairs at one lag is a quadratic form, by half of the adjacency matrix of a graph of
    paths: its eigenvalues are within [-1, 1], each with its negative, and their squares add up to m/2. So,
    since :math:`-\ln(1 - u)` is convex, :math:`\ln E e^{\theta S} \le -\frac m8 \ln(1 - 4 \theta^2)`, and by
    Chernoff, with :math:`s = \sqrt{1 + 16 x^2 / m^2}`,

    .. math:: P[|S| \ge x] \le 2 \exp\Big(-\frac m8 \big(s - 1 - \ln \tfrac{1 + s}2\big)\Big).

    The p-value is the smallest of these bounds, times the number of lags. It holds for series of any length.

    Args:
        z: Independent standard normal numbers, under the null hypothesis.
        mask: Which of them count; all if not given.

    Returns:
        An upper bound on the p-value, the least likely lag and the correlation at that lag.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    size = next_fast_len(2 * len(z), real=True)

    def autocorrelation_sums(x: Numbers) -> Numbers:
        transformed = rfft(x, size)
        return np.asarray(
            irfft(transformed.real**2 + transformed.imag**2, size)[1 : len(z)], dtype=np.float64
        )

    sums = autocorrelation_sums(z if mask is None else np.where(mask, z, 0.0))
    pairs = (
        np.arange(len(z) - 1.0, 0.0, -1.0)
        if mask is None
        else autocorrelation_sums(mask.astype(np.float64)).round()
    )
    lags = np.flatnonzero(pairs > 0)
    if not len(lags):
        return 1.0, 0, 0.0
    sums, pairs = sums[lags], pairs[lags]
    s = np.sqrt(1 + 16 * (sums / pairs) ** 2)
    exponents = pairs / 8 * (s - 1 - np.log((1 + s) / 2))
    at = int(exponents.argmax())
    p_value = float(np.minimum(1.0, 2 * len(lags) * np.exp(-exponents[at])))
    return p_value, int(lags[at]) + 1, float(sums[at] / pairs[at])
