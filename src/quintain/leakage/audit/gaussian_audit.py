r"""A tight audit with one training run, for canaries whose scores are independent and Gaussian.

``audit_one_run`` holds however the canaries' scores depend on each other, so it must allow for mechanisms
that reveal all coins at once with a small probability. If the score of each canary depends on its own coin
and on independent noise alone, such as in a coordinate that no other record moves, that cannot happen, and
the same number of correct guesses proves a larger epsilon.
"""

import math
from dataclasses import dataclass

from numpy.typing import ArrayLike
from scipy.special import log_ndtr

from quintain.core.errors import SettingError
from quintain.core.registry import declare
from quintain.core.statistics import check_confidence
from quintain.leakage.audit.canary_checks import check_canaries
from quintain.leakage.audit.guesses import correct_guesses
from quintain.leakage.audit.one_run import OneRunAudit
from quintain.leakage.audit.result import epsilon_bound, epsilon_quantity
from quintain.leakage.audit.weighted_guesses import (
    largest_weighted_correct,
    mu_lower_bound,
    weighted_correct,
)
from quintain.results.quantity import Quantity

ASSUMPTIONS = (
    "the scores of different canaries are independent, given the coins",
    "the trade-off between false positives and false negatives of each canary is a Gaussian's",
)
"""What the bound rests on besides fair coins; the scores cannot prove it."""

_MAX_EPSILON = 1024.0


@dataclass(frozen=True, slots=True)
class GaussianAudit(OneRunAudit):
    """What one training run shows under the assumptions of ``ASSUMPTIONS``.

    Args:
        bound, max_auditable_epsilon, canaries, confidence, guesses, correct: As in ``OneRunAudit``.
        weighted: The number of right guesses, where those among the surest half count three times.
        mu: The lower bound on the distance of the two Gaussians, in standard deviations.
    """

    weighted: int
    mu: float


@declare(
    kind="audit",
    name="gaussian",
    summary="a lower bound on epsilon from one run, for independent scores with a Gaussian trade-off",
    guarantee="exceeds the true epsilon with probability at most 1 - confidence, if the inclusion coins are "
    "fair and independent, and so are the scores, with a Gaussian's trade-off curve",
    rests_on_assumption=True,
)
def audit_gaussian(
    scores: ArrayLike,
    included: ArrayLike,
    *,
    delta: float = 1e-5,
    confidence: float = 0.95,
    seed: int = 0,
    quantity: Quantity | None = None,
) -> GaussianAudit:
    r"""Compute a lower bound on epsilon that rests on independent scores and on a Gaussian trade-off.

    All m canaries are guessed, by a rule that looks at all scores and at no coin. If the scores are
    independent given the coins, then so are the coins given the scores, and a guess of coin i is right with a
    probability that follows from its own score. Of a mechanism that is :math:`\mu`-GDP no rule has more right
    guesses than that of the ideal Gaussian, and no sum of them that weighs sure guesses more is larger. The
    surest half, by rank, counts three times (``weighted_guesses``): a number and weights that are fixed
    beforehand, so that nothing is to be paid for a choice. With P the exact law of that sum and w its value,

    .. math:: \mu \ge \sup \{\mu' : P_{\mu'}[W \ge w] \le 1 - \text{confidence}\}, \qquad
        \delta = \Phi(\mu / 2 - \varepsilon / \mu) - e^\varepsilon \Phi(-\mu / 2 - \varepsilon / \mu)

    Args:
        scores: One for each canary (m,), all computed in the same way; larger means more likely included.
        included: Whether each canary was included (m,) bool, in the order in which canaries were made.
        delta: The delta of the epsilon.
        confidence: One-sided confidence of the bound.
        seed: Of the order of canaries with equal scores, which does not depend on inclusion.
        quantity: What is bounded; add/remove adjacency of one record if not given.

    Guarantee: under ``ASSUMPTIONS`` and for fair and independent coins, the bound exceeds the true epsilon
    with probability at most ``1 - confidence``. Without ``ASSUMPTIONS`` it may exceed it: guesses about
    randomized response of epsilon 2 are right as often as those about a Gaussian mechanism of epsilon 12. So
    it is not used as a side of a bracket; the bound of ``audit_one_run`` is.

    Raises:
        DataError: For what ``check_canaries`` refuses.
        SettingError: For a delta or confidence out of range.

    Source: Dong, Roth and Su, 2019, arXiv:1905.02383 (Gaussian differential privacy, corollary 2.13); Xiang,
    Wang and Wang, 2025, arXiv:2509.08704, audit with it in one run.
    """
    check_confidence(confidence)
    if not 0 < delta < 1:
        raise SettingError(
            f"delta = {delta}; expected a number in (0, 1), far below 1 / canaries, such as 1e-5"
        )
    values, coins = check_canaries(scores, included)
    right = correct_guesses(values, coins, seed=seed)
    canaries, weighted = len(coins), weighted_correct(right)

    def epsilon_at(value: int, level: float) -> float:
        return gaussian_dp_epsilon(mu_lower_bound(canaries, value, level), delta)

    bound = epsilon_bound(
        lambda level: epsilon_at(weighted, level),
        epsilon_quantity(quantity, delta),
        confidence,
        method=f"independent Gaussian scores, {canaries} canaries",
        assumptions=("inclusion coins fair and independent", *ASSUMPTIONS),
    )
    return GaussianAudit(
        bound=bound,
        max_auditable_epsilon=epsilon_at(largest_weighted_correct(canaries), confidence),
        canaries=canaries,
        confidence=confidence,
        guesses=canaries,
        correct=int(right.sum()),
        weighted=weighted,
        mu=mu_lower_bound(canaries, weighted, confidence),
    )


def gaussian_dp_epsilon(mu: float, delta: float) -> float:
    """Return the smallest epsilon >= 0 of mu-GDP at a delta, rounded down by at most 1e-9."""
    if mu <= 0 or gaussian_delta(mu, 0.0) <= delta:
        return 0.0
    # Bisection for the largest epsilon whose delta is above the given one; the lower end errs downwards.
    refuted, not_refuted = 0.0, _MAX_EPSILON
    while not_refuted - refuted > 1e-9:
        middle = (refuted + not_refuted) / 2
        if gaussian_delta(mu, middle) > delta:
            refuted = middle
        else:
            not_refuted = middle
    return refuted


def gaussian_delta(mu: float, epsilon: float) -> float:
    r"""Return the delta of mu-GDP at an epsilon: a difference of two terms, computed from their logarithms.

    .. math:: \delta = \Phi(\mu / 2 - \varepsilon / \mu) - e^\varepsilon \Phi(-\mu / 2 - \varepsilon / \mu)
    """
    first = float(log_ndtr(mu / 2 - epsilon / mu))
    second = epsilon + float(log_ndtr(-mu / 2 - epsilon / mu))
    return math.exp(first) * -math.expm1(min(0.0, second - first))
