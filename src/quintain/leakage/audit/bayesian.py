"""A Bayesian interval of epsilon from many runs: credible under a prior, without a promise of coverage."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import betainc, betaincinv

from quintain.core.registry import declare
from quintain.core.seeds import derive_seed
from quintain.core.statistics import check_confidence
from quintain.leakage.audit.canary_checks import check_runs
from quintain.leakage.audit.many_runs import ASSUMPTION
from quintain.leakage.audit.result import EpsilonAudit, epsilon_bound, epsilon_quantity
from quintain.leakage.audit.worst_case import MAX_EPSILON, check_delta
from quintain.results.quantity import Quantity

PRIOR = 0.5
"""Both parameters of the Beta prior of each rate (Jeffreys)."""

_NODES = 1000


@declare(
    kind="audit",
    name="bayesian",
    summary="a credible lower limit of epsilon from many training runs with one canary each",
    guarantee="credible with probability confidence under a Jeffreys prior; no promise of coverage",
    scores_of="runs",
    rests_on_assumption=True,
)
def audit_bayesian(
    scores: ArrayLike,
    included: ArrayLike,
    *,
    delta: float = 1e-5,
    confidence: float = 0.95,
    seed: int = 0,
    quantity: Quantity | None = None,
) -> EpsilonAudit:
    r"""Compute the lower limit of a credible interval of epsilon at one threshold.

    The threshold is the best of a random half of the runs; the other half has FP false positives of
    :math:`n_0` and FN false negatives of :math:`n_1`. With independent

    .. math:: \mathrm{FPR} \sim \mathrm{Beta}(\tfrac12 + FP, \tfrac12 + n_0 - FP), \qquad
        \mathrm{FNR} \sim \mathrm{Beta}(\tfrac12 + FN, \tfrac12 + n_1 - FN)

    the limit is the :math:`1 - c` quantile of
    :math:`\max(\ln \frac{1 - \delta - FNR}{FPR}, \ln \frac{1 - \delta - FPR}{FNR}, 0)`.

    Args:
        scores, included, delta, seed, quantity: As in ``audit_many_runs``; ``seed`` also halves the runs.
        confidence: How credible the limit is.

    It is narrower than ``audit_many_runs`` and promises less: the posterior is what it is under its prior,
    and how often it lies above the true epsilon is not bounded. It is no side of a bracket.

    Raises:
        DataError: For what ``check_runs`` refuses.
        SettingError: For a delta or confidence out of range, or a quantity with another delta.

    Source: Zanella-Beguelin et al., 2022, arXiv:2206.05199; reversed tests are left out, since with them the
    limit is above 0 wherever the rates are not exactly those of guessing.
    """
    check_delta(delta)
    check_confidence(confidence)
    values, arms = check_runs(scores, included)
    rng = np.random.default_rng(derive_seed(seed, "bayesian", "halves"))
    first = rng.permutation(len(values)) < len(values) // 2
    threshold = _best_threshold(values[first], arms[first], delta)
    is_positive, kept = values[~first] > threshold, arms[~first]

    def lower_bound(positive: NDArray[np.bool_], level: float) -> float:
        counts = [int(positive[~kept].sum()), int((~positive[kept]).sum())]
        return credible_epsilon(counts[0], int((~kept).sum()), counts[1], int(kept.sum()), delta, level)

    bound = epsilon_bound(
        lambda level: lower_bound(is_positive, level),
        epsilon_quantity(quantity, delta),
        confidence,
        method=f"credible interval (Bayesian), {len(kept)} runs",
        assumptions=(ASSUMPTION, "a Jeffreys prior: credible, without a promise of coverage"),
    )
    return EpsilonAudit(bound, lower_bound(kept, confidence), len(arms), confidence)


def credible_epsilon(
    false_positives: int,
    negatives: int,
    false_negatives: int,
    positives: int,
    delta: float,
    credibility: float,
) -> float:
    """Return the epsilon that the posterior exceeds with a probability of ``credibility``."""
    a, b = PRIOR + false_positives, PRIOR + negatives - false_positives
    c, d = PRIOR + false_negatives, PRIOR + positives - false_negatives
    # Equally likely values of the false-positive rate, and the law of the false-negative rate at each.
    fpr = betaincinv(a, b, (np.arange(_NODES) + 0.5) / _NODES)

    def exceeded(epsilon: float) -> float:
        reach = np.maximum(1 - delta - math.exp(epsilon) * fpr, (1 - delta - fpr) * math.exp(-epsilon))
        return float(betainc(c, d, np.clip(reach, 0, 1)).mean())

    if exceeded(0.0) < credibility:
        return 0.0
    if exceeded(MAX_EPSILON) >= credibility:
        return MAX_EPSILON
    return float(brentq(lambda epsilon: exceeded(epsilon) - credibility, 0.0, MAX_EPSILON, xtol=1e-6))


def _best_threshold(scores: NDArray[np.float64], included: NDArray[np.bool_], delta: float) -> float:
    """Return the threshold at which 95 % limits of both rates show the largest epsilon; infinity for none."""
    order = np.argsort(-scores, kind="stable")
    falling, hits = scores[order], included[order]
    # A threshold lies between two different values; scores above it are the first of the falling order.
    between = np.flatnonzero(falling[:-1] > falling[1:])
    if not len(between) or hits.all() or not hits.any():
        return math.inf
    positives, negatives = int(hits.sum()), int((~hits).sum())
    true, false = np.cumsum(hits)[between], np.cumsum(~hits)[between]
    tpr = np.where(true > 0, betaincinv(np.maximum(true, 1), positives - np.maximum(true, 1) + 1, 0.05), 0.0)
    beyond = np.minimum(false, negatives - 1)
    fpr = np.where(false < negatives, betaincinv(beyond + 1, negatives - beyond, 0.95), 1.0)
    with np.errstate(divide="ignore"):
        lower_bound = np.maximum(
            np.log(np.maximum(tpr - delta, 0) / fpr), np.log(np.maximum(1 - delta - fpr, 0) / (1 - tpr))
        )
    return float(falling[between[int(np.argmax(lower_bound))] + 1])
