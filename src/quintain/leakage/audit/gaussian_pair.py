"""An estimate from white-box scores: the canaries that were in and those that were not, as two Gaussians.

A score that adds up what each step released along a canary's direction is a sum of many small terms and of
Gaussian noise, so that it is nearly normal. Guesses of coins throw away how far apart the two groups lie.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, xlogy

from quintain.core.errors import SettingError
from quintain.core.registry import declare
from quintain.core.statistics import check_confidence
from quintain.leakage.audit.canary_checks import check_runs
from quintain.leakage.audit.gaussian_audit import gaussian_dp_epsilon
from quintain.leakage.audit.result import EpsilonAudit, epsilon_bound, epsilon_quantity
from quintain.results.quantity import Quantity

MAX_DISTANCE = 20.0
"""Groups that lie farther apart, in standard deviations, are taken to lie so far apart."""

_NODES = 2001


@declare(
    kind="audit",
    name="gaussian-pair",
    summary="an estimate of epsilon from white-box scores, as two Gaussians of one variance",
    guarantee="an estimate: exceeds the true epsilon with probability at most 1 - confidence if scores are "
    "independent and exactly normal with one variance",
    rests_on_assumption=True,
)
def audit_gaussian_pair(
    scores: ArrayLike,
    included: ArrayLike,
    *,
    delta: float = 1e-5,
    confidence: float = 0.95,
    seed: int = 0,  # noqa: ARG001
    quantity: Quantity | None = None,
) -> EpsilonAudit:
    r"""Estimate epsilon by the distance of two normal laws that have one variance.

    With means :math:`\bar s_1, \bar s_0` of :math:`n_1` included and :math:`n_0` excluded canaries and their
    pooled standard deviation s,

    .. math:: t = \frac{\bar s_1 - \bar s_0}{s \sqrt{1/n_1 + 1/n_0}}

    has a noncentral t law with :math:`n_1 + n_0 - 2` degrees of freedom and noncentrality
    :math:`\mu / \sqrt{1/n_1 + 1/n_0}`. The smallest :math:`\mu` that explains t with the error probability is
    a lower limit, never below 0, and the epsilon is that of a Gaussian mechanism of that :math:`\mu`.

    Args:
        scores: Of canaries of one white-box run, or of runs with one canary each (m,).
        included: Whether each was included (m,) bool.
        delta: The delta of the epsilon.
        confidence: One-sided.
        seed: Not needed; each audit has one.
        quantity: What is bounded; add/remove adjacency of one record if not given.

    It is an estimate, and no side of a bracket: normality in the middle, which can be looked at, says nothing
    of the tails that epsilon at a small delta is about.

    Raises:
        DataError: For what ``check_runs`` refuses.
        SettingError: For a delta or confidence out of range, or a quantity with another delta.

    Source: Agrawal et al., 2026, arXiv:2606.12733, who fit both variances and take quantiles of the fit as
    they are; here one variance, at an exact level.
    """
    check_confidence(confidence)
    if not 0 < delta < 1:
        raise SettingError(f"delta = {delta}; expected a probability far below 1 / canaries, such as 1e-5")
    values, coins = check_runs(scores, included)
    sizes = (int(coins.sum()), int((~coins).sum()))
    distance = _distance(values, coins)

    def lower_bound(of: float, level: float) -> float:
        return gaussian_dp_epsilon(mu_lower_limit(of, sizes, level), delta)

    bound = epsilon_bound(
        lambda level: lower_bound(distance, level),
        epsilon_quantity(quantity, delta),
        confidence,
        method=f"two Gaussians fitted to {len(coins)} scores (an estimate)",
        assumptions=("scores are independent and exactly normal, with one variance",),
    )
    return EpsilonAudit(bound, lower_bound(MAX_DISTANCE, confidence), len(coins), confidence)


def mu_lower_limit(distance: float, sizes: tuple[int, int], confidence: float) -> float:
    """Return the lower limit of the distance of two normal laws, in standard deviations, never below 0.

    Args:
        distance: That of the two sample means over the pooled standard deviation.
        sizes: Of both samples.
        confidence: One-sided.
    """
    freedom, scale = sum(sizes) - 2, 1 / math.sqrt(1 / sizes[0] + 1 / sizes[1])
    if freedom < 1 or not distance > 0:
        return 0.0
    t = min(distance, MAX_DISTANCE) * scale

    spreads, weights = _spread_law(freedom)

    def excess(mu: float) -> float:
        # P[T >= t] at this mu = E[P[Z >= t S - mu scale]], less what is allowed: it rises with mu.
        return float(weights @ ndtr(mu * scale - t * spreads)) - (1 - confidence)

    if excess(0.0) > 0:
        return 0.0
    return max(0.0, float(brentq(excess, 0.0, min(distance, MAX_DISTANCE) + MAX_DISTANCE, xtol=1e-9)) - 1e-8)


def _spread_law(freedom: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return values of sqrt(chi^2 / freedom) and weights, which integrate smooth functions of it."""
    reach = 12 / math.sqrt(2 * freedom)
    values = np.linspace(max(1e-9, 1 - reach), 1 + reach, _NODES)
    logs = xlogy(freedom - 1, values) - freedom * (values**2 - 1) / 2
    weights = np.exp(logs - logs.max())
    return values, weights / weights.sum()


def _distance(scores: NDArray[np.float64], included: NDArray[np.bool_]) -> float:
    """Return the distance of the means over the pooled standard deviation; 0 where no score varies."""
    scaled = scores / (np.abs(scores).max() or 1.0)
    groups = scaled[included], scaled[~included]
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    apart = float(groups[0].mean() - groups[1].mean())
    if len(scores) < 3 or apart <= 0:
        return 0.0
    spread = math.sqrt(squares / (len(scores) - 2))
    return MAX_DISTANCE if apart >= MAX_DISTANCE * spread else apart / spread
