r"""Audits from many training runs with one canary each, whose scores are independent.

Every test "score above t" has a false-positive rate among runs without the canary and a true-positive rate
among those with it. A threshold that is picked on the same scores is multiple testing; here it is the
:math:`(k+1)`-th largest score without the canary, for numbers k that are fixed beforehand. Its false-positive
rate then has the law Beta(k + 1, n - k), whatever the scores are, and given these scores the true positives
are binomial, so that both limits are exact (Bonferroni over the numbers k and the limits). The same is done
with the smallest scores of runs with the canary.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from quintain.core.errors import SettingError
from quintain.core.registry import declare
from quintain.core.seeds import derive_seed
from quintain.core.statistics import binomial_lower, check_confidence
from quintain.leakage.audit.canary_checks import check_runs
from quintain.leakage.audit.profiles import ProfileFamily, gaussian_family, last_refuted
from quintain.leakage.audit.result import EpsilonAudit, epsilon_bound, epsilon_quantity
from quintain.leakage.audit.worst_case import check_delta
from quintain.results.quantity import Quantity

ASSUMPTION = "scores of different runs are independent, with one law where the canary is in and one where not"


class Rates(NamedTuple):
    """What is known of one event: it is likely under one arm and unlikely under the other.

    Args:
        least: Lower limit of its probability under the arm where it is likely.
        most: Upper limit of its probability under the other arm.
    """

    least: float
    most: float


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

    For each event of ``event_rates``, with limits :math:`p_-` and :math:`p'_+` of its probability,

    .. math:: \varepsilon \ge \max\Big(\ln \frac{p_- - \delta}{p'_+},
        \ln \frac{1 - p'_+ - \delta}{1 - p_-}\Big)

    (the second from its complement), and the largest counts.

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

    Source: Jagielski, Ullman and Oprea, 2020, arXiv:2006.07709, at thresholds fixed beforehand; Clopper and
    Pearson, 1934.
    """
    check_delta(delta)
    check_confidence(confidence)
    values, coins = check_runs(scores, included)

    def shown(of: NDArray[np.float64], level: float) -> float:
        return max((_epsilon(rates, delta) for rates in event_rates(of, coins, 1 - level, seed)), default=0.0)

    bound = epsilon_bound(
        lambda level: shown(values, level),
        epsilon_quantity(quantity, delta),
        confidence,
        method=f"many runs at fixed ranks, {len(coins)} runs",
        assumptions=(ASSUMPTION,),
    )
    return EpsilonAudit(bound, shown(coins.astype(np.float64), confidence), len(coins), confidence)


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

    A profile is refuted where, for an event of ``event_rates`` with limits :math:`p_-` and :math:`p'_+`,

    .. math:: p_- - e^\varepsilon p'_+ > \delta(\varepsilon) \text{ for some } \varepsilon,

    or its complement is. It is strong where deltas are large: a step whose noise is too small is seen in
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

    def shown(of: NDArray[np.float64], level: float) -> float:
        found = list(event_rates(of, coins, 1 - level, seed))
        return last_refuted(
            family, lambda place: any(one.most < family.least(place, one.least) for one in found)
        )

    bound = epsilon_bound(
        lambda level: shown(values, level),
        epsilon_quantity(quantity, delta),
        confidence,
        method=f"privacy profile, {len(coins)} scores",
        assumptions=(ASSUMPTION, "the privacy profile is one of those that were given"),
    )
    return EpsilonAudit(bound, shown(coins.astype(np.float64), confidence), len(coins), confidence)


def event_rates(
    scores: NDArray[np.float64], included: NDArray[np.bool_], error_probability: float, seed: int
) -> Iterator[Rates]:
    """Yield limits of events' probabilities under both arms, which all hold but for the error probability.

    Scores above the (k + 1)-th largest one without the canary, and below the (k + 1)-th smallest one with it,
    for k = 0, 1, 2, 4, ... below the number of runs of that arm.
    """
    # Places in the order of scores, ties by noise that no coin enters: as if no two scores were equal.
    noise = np.random.default_rng(derive_seed(seed, "many-runs", "ties")).random(len(scores))
    place = np.empty(len(scores))
    place[np.lexsort((noise, scores))] = np.arange(len(scores))
    high, low = np.sort(place[included]), np.sort(place[~included])
    arms = ((low, high), (-high[::-1], -low[::-1]))
    tests = 2 * sum(len(_ranks(len(own))) for own, _ in arms)
    error = error_probability / tests
    for own, other in arms:
        n = len(own)
        for k in _ranks(n):
            # The rate beyond the (k + 1)-th largest of n is that of uniform numbers: Beta(k + 1, n - k).
            most = float(betaincinv(k + 1, n - k, 1 - error))
            hits = int((other > own[n - 1 - k]).sum())
            yield Rates(binomial_lower(hits, len(other), 1 - error), most)


def _ranks(runs: int) -> tuple[int, ...]:
    """Return 0, 1, 2, 4, ... below the number of runs: fixed beforehand."""
    return (0, *(2**step for step in range(runs.bit_length()) if 2**step < runs))


def _epsilon(rates: Rates, delta: float) -> float:
    """Return the least epsilon at which an event and its complement can have such probabilities."""
    least, most = rates
    ratios = [
        (least - delta) / most if most > 0 else math.inf,
        (1 - most - delta) / (1 - least) if least < 1 else math.inf,
    ]
    return math.log(max(1.0, *ratios))
