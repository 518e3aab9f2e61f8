r"""Audits from many training runs with one canary each, whose scores are independent.

Every test "score above t" has a false-positive rate among runs without the canary and a true-positive rate
among those with it. A threshold that is picked on the same scores is multiple testing; here it is the
:math:`(k+1)`-th largest score without the canary, for numbers k that are fixed beforehand. Its false-positive
rate U then has the law Beta(k + 1, n - k), whatever the scores are, and given these scores the true positives
are binomial, with a rate that a private mechanism bounds by its trade-off curve at U. So the law of the
number of true positives is known exactly, U included, and nothing is to be paid for not knowing U (Bonferroni
over the numbers k alone). The same is done with the smallest scores of runs with the canary.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betainccinv

from quintain.core.errors import SettingError
from quintain.core.registry import declare
from quintain.core.seeds import derive_seed
from quintain.core.statistics import check_confidence
from quintain.leakage.audit.canary_checks import check_runs
from quintain.leakage.audit.profiles import ProfileFamily, gaussian_family, last_refuted
from quintain.leakage.audit.result import EpsilonAudit, epsilon_bound, epsilon_quantity
from quintain.leakage.audit.worst_case import check_delta, largest_refuted
from quintain.results.quantity import Quantity

ASSUMPTION = "scores of different runs are independent, with one law where the canary is in and one where not"


_SURVIVAL = np.unique(np.concatenate([[0.0], np.geomspace(1e-12, 1, 250), np.linspace(0, 1, 151)]))[:0:-1]
"""Probabilities that a rate is larger, falling from 1: they cut its law into cells."""

_CELLS = np.append(_SURVIVAL[:-1] - _SURVIVAL[1:], _SURVIVAL[-1])

_ROUNDING = 1e-9


class RankTest(NamedTuple):
    """The event that a score lies beyond the (k + 1)-th largest of one arm, as seen in the other arm.

    Args:
        rates: The event's probability in the arm that gave the threshold: the upper ends of cells (j,) of
            its law, whose probabilities are ``_CELLS``.
        hits, trials: How many runs of the other arm are in the event, of how many.
    """

    rates: NDArray[np.float64]
    hits: int
    trials: int


@declare(
    kind="audit",
    name="many-runs",
    summary="a lower bound on epsilon from many training runs with one canary each",
    guarantee="exceeds the true epsilon with probability at most 1 - confidence, if the runs are independent",
    scores_of="runs",
)
def audit_many_runs(
    scores: ArrayLike,
    included: ArrayLike,
    *,
    delta: float = 1e-5,
    confidence: float = 0.95,
    seed: int = 0,
    quantity: Quantity | None = None,
) -> EpsilonAudit:
    r"""Compute a lower bound on epsilon from one score of each of many runs.

    For each test of ``rank_tests``, with H hits of n, an epsilon is refuted where

    .. math:: E\big[P[\mathrm{Bin}(n, f(U)) \ge H]\big] \le \frac{\alpha}{\text{number of tests}},
        \quad f(u) = \min\big(1, e^\varepsilon u + \delta, 1 - e^{-\varepsilon} (1 - \delta - u)\big)

    over the law of U; the largest epsilon that one of them refutes counts.

    Args:
        scores: Of each run (n,), computed in the same way; larger means more likely included.
        included: Whether the canary was in each run (n,) bool; by coins or by plan, in any numbers.
        delta: The delta of the epsilon.
        confidence: One-sided: the bound exceeds the true epsilon with probability at most ``1 - confidence``.
        seed: Breaks ties; choose it before the scores are seen.
        quantity: What is bounded; add/remove adjacency of one record if not given.

    Guarantee: exact, for any law of the scores, if runs are independent and each arm has one law.

    Raises:
        DataError: For NaN or infinite scores, or an arm without a run.
        SettingError: For a delta or confidence out of range, or a quantity with another delta.

    Source: the experiment of Jagielski, Ullman and Oprea, 2020, arXiv:2006.07709, at thresholds fixed
    beforehand, with one exact test in place of two Clopper-Pearson limits.
    """
    check_delta(delta)
    check_confidence(confidence)
    values, coins = check_runs(scores, included)

    def lower_bound(tests: Sequence[RankTest], level: float) -> float:
        error, best = _error_per_test(1 - level, len(tests)), 0.0
        for one in _telling(tests, error):
            p_value_at = partial(_p_value_at, one, delta)
            if p_value_at(best) <= error:
                best = largest_refuted(p_value_at, error)
        return best

    tests = rank_tests(values, coins, seed)
    bound = epsilon_bound(
        lambda level: lower_bound(tests, level),
        epsilon_quantity(quantity, delta),
        confidence,
        method=f"many runs at fixed ranks, {len(coins)} runs",
        assumptions=(ASSUMPTION,),
    )
    return EpsilonAudit(bound, lower_bound(_all_hit(tests), confidence), len(coins), confidence)


@declare(
    kind="audit",
    name="profile",
    summary="a test of a privacy profile, by many independent scores such as those of single steps",
    guarantee="crosses a true claim with probability at most 1 - confidence, if the scores are independent; "
    "below the claim its value is that of the plan with more noise",
    scores_of="runs",
    needs=("profiles",),
)
def audit_profile(
    scores: ArrayLike,
    included: ArrayLike,
    *,
    delta: float = 1e-5,
    confidence: float = 0.95,
    seed: int = 0,
    quantity: Quantity | None = None,
    profiles: ProfileFamily | None = None,
) -> EpsilonAudit:
    r"""Refute privacy profiles by the hockey-stick divergence of many independent scores.

    As ``audit_many_runs``, with the trade-off curve of the profile in place of f,

    .. math:: f(u) = \min_\varepsilon \min\big(\delta(\varepsilon) + e^\varepsilon u,
        1 - e^{-\varepsilon} (1 - \delta(\varepsilon) - u)\big).

    It is strong where deltas are large: a step whose noise is too small is seen in
    hundreds of scores, where epsilon at a small delta takes more than 1 / delta.

    Args:
        scores, included, confidence, seed, quantity: As in ``audit_many_runs``; for single steps, the
            projection of each step on the canary's direction, included where the canary was drawn.
        delta: The delta of the epsilon, for which ``profiles`` has its values.
        profiles: The claimed profile among those with other noise. Those of Gaussian mechanisms if not given.

    Guarantee: if the mechanism keeps to a profile of the family, the bound reaches that profile's value with
    probability at most ``1 - confidence``, for independent scores. Below the claim its value rests on the
    assumption that the mechanism's profile is one of the family's.

    Raises:
        DataError: For what ``check_runs`` refuses.
        SettingError: For a delta or confidence out of range, or a quantity with another delta.
    """
    check_confidence(confidence)
    if not 0 < delta < 1:
        raise SettingError(f"delta = {delta}; expected a probability far below 1 / records, such as 1e-5")
    values, coins = check_runs(scores, included)
    family = gaussian_family(delta) if profiles is None else profiles

    def lower_bound(tests: Sequence[RankTest], level: float) -> float:
        error = _error_per_test(1 - level, len(tests))
        place = -1
        for one in _telling(tests, error):
            place = last_refuted(family, partial(_refutes_profile, one, error, family), place)
        return family.value(place)

    tests = rank_tests(values, coins, seed)
    bound = epsilon_bound(
        lambda level: lower_bound(tests, level),
        epsilon_quantity(quantity, delta),
        confidence,
        method=f"privacy profile, {len(coins)} scores",
        assumptions=(ASSUMPTION, "the privacy profile is one of those that were given"),
    )
    return EpsilonAudit(bound, lower_bound(_all_hit(tests), confidence), len(coins), confidence)


def rank_tests(scores: NDArray[np.float64], included: NDArray[np.bool_], seed: int) -> tuple[RankTest, ...]:
    """Return tests of scores above the (k + 1)-th largest one without the canary, and below the (k + 1)-th
    smallest one with it, for k = 0, 1, 2, 4, ... below the number of runs of that arm.
    """
    # Places in the order of scores, ties by noise that no coin enters: as if no two scores were equal.
    noise = np.random.default_rng(derive_seed(seed, "many-runs", "ties")).random(len(scores))
    place = np.empty(len(scores))
    place[np.lexsort((noise, scores))] = np.arange(len(scores))
    high, low = np.sort(place[included]), np.sort(place[~included])
    return tuple(
        RankTest(_rates(k, len(own)), int((other > own[len(own) - 1 - k]).sum()), len(other))
        for own, other in ((low, high), (-high[::-1], -low[::-1]))
        for k in _ranks(len(own))
    )


def rank_p_value(test: RankTest, most: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> float:
    """Bound the probability of so many hits where ``most`` bounds an event's probability by its other one.

    It is rounded up: each cell of the law of the rate counts with its upper end.
    """
    if test.hits == 0:
        return 1.0
    tails = betainc(test.hits, test.trials - test.hits + 1, np.clip(most(test.rates), 0, 1))
    return min(1.0, float(_CELLS @ tails) * (1 + _ROUNDING))


@lru_cache(maxsize=1024)
def _rates(k: int, runs: int) -> NDArray[np.float64]:
    """Upper ends of the cells of Beta(k + 1, n - k), the law of the rate beyond the (k + 1)-th largest of n
    uniform numbers.
    """
    rates = np.append(betainccinv(k + 1, runs - k, _SURVIVAL[1:]), 1.0)
    rates.setflags(write=False)
    return rates


def _all_hit(tests: Sequence[RankTest]) -> tuple[RankTest, ...]:
    """The tests of as many runs whose scores tell all."""
    return tuple(one._replace(hits=one.trials) for one in tests)


def _ranks(runs: int) -> tuple[int, ...]:
    """Return 0, 1, 2, 4, ... below the number of runs: fixed beforehand."""
    return (0, *(2**step for step in range(runs.bit_length()) if 2**step < runs))


def _error_per_test(error_probability: float, tests: int) -> float:
    """Each test's part of the error probability (Bonferroni)."""
    return error_probability / tests


def _telling(tests: Sequence[RankTest], error: float) -> list[RankTest]:
    """Those tests that refute anything, the surest first: that both arms are alike is allowed by all."""
    p_values = [rank_p_value(one, lambda rates: rates) for one in tests]
    return [tests[place] for place in np.argsort(p_values, kind="stable") if p_values[place] <= error]


def _refutes_profile(test: RankTest, error: float, family: ProfileFamily, place: int) -> bool:
    return rank_p_value(test, lambda rates: family.most(place, rates)) <= error


def _p_value_at(test: RankTest, delta: float, epsilon: float) -> float:
    """Bound the probability of so many hits of an (epsilon, delta)-private mechanism."""
    odds = math.exp(epsilon)
    return rank_p_value(test, lambda rates: np.minimum(odds * rates + delta, 1 - (1 - delta - rates) / odds))
