r"""The law of right guesses of an ideal Gaussian mechanism, where the surer half of them counts three times.

Of a Gaussian mechanism the surest guesses tell most: one of a score beside the cut is right with probability
1/2 whatever the noise. So a right guess among the surest :math:`h = \lfloor m / 2 \rfloor` of m counts
``SURE_WEIGHT``, any other one 1. The weights are fixed beforehand, and nothing is to be paid for their
choice. How much a guess says of mu is how fast its log-odds rise with mu, on average over the surer half
3.9 times as fast as over the other where mu is small. For mu from 0.3 to 1.7 the sum says as much of mu as
a plain count of 1.35 times as many guesses does, for mu = 2.5 as one of 1.15 times as many, and never less.
"""

import math
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import betaincinv, expit, gammaln, ndtr, xlogy

Number = TypeVar("Number", float, NDArray[np.float64])

SURE_WEIGHT = 3
"""What a right guess among the surest half counts; the others count 1."""

_NODES = 48
"""Points of the Gauss-Legendre rule over the threshold t between the two halves."""

_LEFT_OUT = 1e-13
"""Probability of thresholds on each side of the points; it is added to the p-value."""

_ROUNDING = 1e-9
"""Relative error of the p-value at most; it is added, too."""

_MAX_MU = 64.0
"""The largest lower bound on mu that is sought."""

_SMALLEST = 1e-300
"""Keeps the logarithm of a p-value finite."""

_STEP = 1e-7
"""How far below the largest refuted mu the bound may lie."""


def weighted_correct(right: NDArray[np.bool_]) -> int:
    """Return the weighted number of right guesses (m,), which come the surest first."""
    return int(right.sum()) + (SURE_WEIGHT - 1) * int(right[: len(right) // 2].sum())


def largest_weighted_correct(canaries: int) -> int:
    """Return the weighted number if all guesses are right."""
    return canaries + (SURE_WEIGHT - 1) * (canaries // 2)


def weighted_p_value(canaries: int, weighted: int, mu: float) -> float:
    r"""Compute the largest probability of a weighted number of right guesses at :math:`\mu`-GDP.

    A mechanism that is :math:`\mu`-GDP in each canary, with scores that are independent given the coins, is a
    post-processing of :math:`s_i \sim N(\pm \mu / 2, 1)` by the coin (Blackwell), given which a guess of coin
    i is right with probability :math:`(1 + e^{-\mu |s_i|})^{-1}` at most, on its own. More right guesses, and
    a right one in an earlier place, never lower the sum, so that whatever the rule, its upper tails are
    largest if each coin is guessed by the sign of :math:`s_i`, those of largest :math:`|s_i|` first (of two
    neighbors in the other order, exchange them). With t the (h + 1)-th largest :math:`|s_i|` and

    .. math:: F(t) = \Phi(\mu / 2 - t) + \Phi(-\mu / 2 - t), \qquad F(t) \sim \mathrm{Beta}(h + 1, m - h),

    the h guesses above are right with probability :math:`\Phi(\mu / 2 - t) / F(t)` each, the one at t with
    :math:`(1 + e^{-\mu t})^{-1}`, the others with :math:`(\Phi(\mu / 2) - \Phi(\mu / 2 - t)) / (1 - F(t))`,
    all independent given t: what is left is one integral over t.

    Args:
        canaries: m, all of which are guessed.
        weighted: The sum; its probability is that of at least as much.
        mu: Of the mechanism.

    Guarantee: the ideal Gaussian mechanism attains it; it rises with mu, since a more private one is a
    post-processing. Rounded up by a billionth.

    Source: Dong, Roth and Su, 2019, arXiv:1905.02383 (theorem 2.10, Blackwell's); Xiang, Wang and Wang, 2025,
    arXiv:2509.08704, bound the number of right ones among the surest r by order statistics of this kind.
    """
    if weighted <= 0:
        return 1.0
    if weighted > largest_weighted_correct(canaries):
        return 0.0
    sure = canaries // 2
    others = canaries - sure - 1
    t, weights = _threshold_quadrature(canaries, mu)
    above = _fraction_above(t, mu)
    # P[at least j right, of the guess at t and the others], j = 0 .. others + 1, and 0 above.
    wrong_below = ndtr(mu / 2 + t) - ndtr(mu / 2)
    right_below = ndtr(mu / 2) - ndtr(mu / 2 - t)
    tails = np.cumsum(_binomial(others, right_below, wrong_below)[:, ::-1], axis=1)[:, ::-1]
    at_t = expit(mu * t)[:, None]
    one, none = np.ones((len(t), 1)), np.zeros((len(t), 1))
    tails = at_t * np.hstack([one, tails]) + (1 - at_t) * np.hstack([tails, none])
    tails = np.hstack([tails, none])
    # Sum over how many of the sure ones are right: the others have to make up for what is missing.
    right = np.arange(sure + 1)
    missing = np.clip(weighted - SURE_WEIGHT * right, 0, others + 2)
    reached = (_binomial(sure, ndtr(mu / 2 - t), above - ndtr(mu / 2 - t)) * tails[:, missing]).sum(axis=1)
    return min(1.0, float(weights @ reached) * (1 + _ROUNDING) + 2 * _LEFT_OUT)


@lru_cache(maxsize=1024)
def mu_lower_bound(canaries: int, weighted: int, confidence: float) -> float:
    """Return the lower bound on mu of a weighted number of right guesses; 0 where chance explains it."""
    error_probability = 1 - confidence

    def excess(mu: float) -> float:
        # Logarithms of p-values are nearly straight lines.
        return math.log(max(weighted_p_value(canaries, weighted, mu), _SMALLEST) / error_probability)

    if excess(0.0) > 0:
        return 0.0
    refuted, not_refuted = 0.0, 1.0
    while excess(not_refuted) <= 0:
        refuted, not_refuted = not_refuted, 2 * not_refuted
        if refuted >= _MAX_MU:
            return refuted
    # The end is refuted, so that the bound errs downwards.
    bound = float(brentq(excess, refuted, not_refuted, xtol=_STEP / 2)) - _STEP
    return bound if bound > refuted and excess(bound) <= 0 else refuted


def _threshold_quadrature(canaries: int, mu: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return thresholds t, and weights that integrate over the law of the (h + 1)-th largest."""
    a, b = canaries // 2 + 1, canaries - canaries // 2

    def threshold(fraction: float) -> float:
        if fraction >= 1:
            return 0.0
        return float(brentq(lambda t: _fraction_above(t, mu) - fraction, 0.0, mu + 40.0))

    low = threshold(1 - float(betaincinv(b, a, _LEFT_OUT)))
    high = threshold(float(betaincinv(a, b, _LEFT_OUT)))
    points, weights = _gauss_legendre()
    t = (low + high) / 2 + (high - low) / 2 * points
    # The density of t is that of Beta(a, b) at F(t), times -F'(t); 1 - F(t) as a sum that loses no digits.
    above = _fraction_above(t, mu)
    rest = ndtr(mu / 2 + t) - ndtr(mu / 2 - t)
    slope = (np.exp(-((t - mu / 2) ** 2) / 2) + np.exp(-((t + mu / 2) ** 2) / 2)) / np.sqrt(2 * np.pi)
    log_beta = gammaln(a + b) - gammaln(a) - gammaln(b)
    density = np.exp(log_beta + xlogy(a - 1, above) + xlogy(b - 1, rest)) * slope
    return t, weights * density * (high - low) / 2


def _fraction_above(t: Number, mu: float) -> Number:
    """Return F(t): how probable it is that a score is farther than t from 0."""
    return ndtr(mu / 2 - t) + ndtr(-mu / 2 - t)


@lru_cache(maxsize=1)
def _gauss_legendre() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.polynomial.legendre.leggauss(_NODES)


def _binomial(trials: int, right: NDArray[np.float64], wrong: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the laws (n, trials + 1) of successes whose odds are ``right`` to ``wrong`` (n,)."""
    k = np.arange(trials + 1)
    choices = gammaln(trials + 1) - gammaln(k + 1) - gammaln(trials - k + 1)
    total = (right + wrong)[:, None]
    return np.exp(choices + xlogy(k, right[:, None] / total) + xlogy(trials - k, wrong[:, None] / total))
