r"""Privacy audit with one training run: a lower bound on epsilon from ``m`` canaries at once.

Each canary is included or excluded by its own fair coin. The auditor sees only the released values, gives
each canary a score, and guesses for each whether it was included, the surest guess first. Under
:math:`(\varepsilon, \delta)`-DP the number of correct ones among the first r guesses is bounded; more
correct guesses refute that epsilon. Many r are looked at, fixed in advance. Since the first r guesses are
part of the first r + 1, what looking at all of them costs is worked out exactly
(``worst_case.joint_p_value``), and is far less than to divide the error probability among them.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from quintain.core.registry import declare
from quintain.core.statistics import check_confidence
from quintain.leakage.audit.canary_checks import check_canaries
from quintain.leakage.audit.guesses import correct_guesses, numbers_of_guesses
from quintain.leakage.audit.result import EpsilonAudit, epsilon_bound, epsilon_quantity
from quintain.leakage.audit.worst_case import check_delta, joint_p_value, largest_refuted
from quintain.results.quantity import Quantity

NOMINAL_ERROR = 0.01
"""Error probability of the limits by which numbers of guesses are compared; it decides no confidence."""

TRIED_FRACTIONS = (0.4, 0.7, 0.9)
"""Fractions of the epsilon at the nominal limit at which a p-value is looked at, where that of 0 is large."""


@dataclass(frozen=True, slots=True)
class OneRunAudit(EpsilonAudit):
    """The bound of one audit, and the largest one that it could have given.

    Args:
        bound, max_auditable_epsilon, canaries, confidence: As in ``EpsilonAudit``.
        guesses: r, the number of guesses where most is shown.
        correct: How many of these guesses were correct.
    """

    guesses: int
    correct: int


@declare(
    kind="audit",
    name="one-run",
    summary="a lower bound on epsilon from the canaries of one training run",
    guarantee="exceeds the true epsilon with probability at most 1 - confidence, "
    "if the inclusion coins are fair and independent",
    default_rank=1,
)
def audit_one_run(
    scores: ArrayLike,
    included: ArrayLike,
    *,
    delta: float = 1e-5,
    confidence: float = 0.95,
    seed: int = 0,
    quantity: Quantity | None = None,
) -> OneRunAudit:
    r"""Compute a lower bound on epsilon from the canaries' scores and from whether each was included.

    The guesses depend on the scores alone, never on which canary was included (see ``correct_guesses``). With
    :math:`V_r` the correct ones of the surest r, and :math:`\ell_r(v)` the Clopper-Pearson lower limit of the
    fraction that is right at a nominal 99 %, the statistic is

    .. math:: T = \max_{r \in R} \ell_r(V_r),

    over numbers of guesses R fixed beforehand, four from one to its double. An epsilon is refuted if no
    :math:`(\varepsilon, \delta)`-DP mechanism reaches so large a T with more than the error probability
    (``joint_p_value``); the bound is the largest epsilon that is.

    Args:
        scores: One for each canary (m,), all computed in the same way; larger means more likely included.
        included: Whether each canary was included (m,) bool, in the order of the scores. That order must not
            depend on the coins (the order in which canaries were made): sorted by inclusion, it would break
            ties in favor of the guesser.
        delta: The delta of the epsilon.
        confidence: One-sided: the bound exceeds the true epsilon with probability at most ``1 - confidence``.
        seed: Breaks ties, by noise that is independent of inclusion; choose it before the scores are seen.
        quantity: The quantity that is bounded; add/remove adjacency of one record if not given.

    A mechanism may leak everything with probability delta, so that no audit shows anything at a confidence
    above ``1 - delta``.

    Guarantee: holds for any dependence between scores (one run, interfering canaries), for any score computed
    from what is released. It assumes that each canary was included by its own independent fair coin, which
    the scores cannot prove; exactly half of them included, or a choice of canaries by their scores, is
    another experiment.

    Raises:
        DataError: For NaN or infinite scores, coins that are no list of as many booleans, or numbers of
            included canaries that fair coins do not give.
        SettingError: For a delta or confidence out of range, or a quantity with another delta.

    Source: Steinke, Nasr and Jagielski, 2023, arXiv:2305.08846, for the experiment; ``worst_case`` for the
    law of the statistic, which their theorem 5.2 bounds from above.
    """
    check_delta(delta)
    check_confidence(confidence)
    values, coins = check_canaries(scores, included)
    m = len(coins)
    right = np.cumsum(correct_guesses(values, coins, seed=seed))
    lower_limits = [(_lower_limits(r)[right[r - 1]], r) for r in numbers_of_guesses(m)]
    statistic, guesses = max(lower_limits)
    bound = epsilon_bound(
        lambda level: _largest_refuted_epsilon(m, statistic, delta, level),
        epsilon_quantity(quantity, delta),
        confidence,
        method=f"one-run audit, {m} canaries",
        assumptions=("inclusion coins fair and independent", "scores computed from what is released alone"),
    )
    return OneRunAudit(
        bound=bound,
        max_auditable_epsilon=max_auditable_epsilon(m, delta=delta, confidence=confidence),
        canaries=m,
        confidence=confidence,
        guesses=guesses,
        correct=int(right[guesses - 1]),
    )


def max_auditable_epsilon(canaries: int, *, delta: float = 1e-5, confidence: float = 0.95) -> float:
    """Compute the bound of ``audit_one_run`` if every guess is correct, the largest for so many canaries."""
    statistic = max(float(_lower_limits(r)[r]) for r in numbers_of_guesses(canaries))
    return _largest_refuted_epsilon(canaries, statistic, check_delta(delta), check_confidence(confidence))


@lru_cache(maxsize=4096)
def _largest_refuted_epsilon(canaries: int, statistic: float, delta: float, confidence: float) -> float:
    """Return the largest epsilon that a value of the statistic refutes; or 0."""
    sizes = numbers_of_guesses(canaries)
    # T >= t where V_r reaches, for some r, the smallest v with a limit of at least t.
    thresholds = [int(np.searchsorted(_lower_limits(r), statistic)) for r in sizes]
    near = math.log(statistic / (1 - statistic)) if 0.5 < statistic < 1 else 0.0
    return largest_refuted(
        lambda epsilon: joint_p_value(canaries, sizes, thresholds, epsilon, delta),
        1 - confidence,
        tries=[fraction * near for fraction in TRIED_FRACTIONS if near],
    )


@lru_cache(maxsize=1024)
def _lower_limits(guesses: int) -> NDArray[np.float64]:
    """Nominal lower limits of the fraction of right guesses, for 0 .. r right ones."""
    right = np.arange(1.0, guesses + 1)
    limits = np.concatenate([[0.0], betaincinv(right, guesses - right + 1, NOMINAL_ERROR)])
    limits = np.maximum.accumulate(limits)
    limits.setflags(write=False)
    return limits
