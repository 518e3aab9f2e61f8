r"""Repetition of an audit with fresh coins, until chance no longer explains that all of them exceed a claim.

One audit cannot alarm by itself: at delta 1e-5 no number of right guesses excludes chance at a confidence of
1 - 1e-6, since the mechanism may leak everything with a probability of delta. Independent audits can: each is
a training of its own, with coins of its own.
"""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import count

from quintain.core.errors import SettingError
from quintain.core.statistics import check_confidence
from quintain.leakage.audit.result import EpsilonAudit
from quintain.results.bounds import FALSE_ALARM_PROBABILITY, Bound
from quintain.results.evidence import ConfidenceLevels

FIRST_AUDIT_CONFIDENCE = 0.999
"""Up to this confidence the bound is that of the first audit alone; above, that of all together."""


def repetitions(confidence: float, *, comparisons: int = 1) -> int:
    r"""Return how many audits with fresh coins must all exceed a claim to contradict it.

    It is the smallest n with :math:`(1 - c)^n \le 10^{-6} / k`: three at a confidence c of 99 %, five at 95
    %.

    Args:
        confidence: c, of each audit.
        comparisons: k, over which the probability of a false alarm is shared.
    """
    check_confidence(confidence)
    if comparisons < 1:
        raise SettingError(f"comparisons = {comparisons}; expected at least 1")
    return next(
        n
        for n in count(1)
        if joint_error(confidence, n) <= Fraction(str(FALSE_ALARM_PROBABILITY)) / comparisons
    )


def joint_error(confidence: float, audits: int) -> Fraction:
    """Bound the probability that all of these independent audits exceed the true epsilon.

    The bound is computed in exact decimals.
    """
    return (1 - Fraction(str(confidence))) ** audits


def joint_bound(audits: Sequence[EpsilonAudit]) -> Bound:
    r"""Combine an audit and its repetitions into one bound; each has coins and a training run of its own.

    The first audit speaks at confidences up to 99.9 %, whatever the others show, so that nobody gains by
    repeating. Above, the smallest of the first k bounds speaks at the confidence :math:`1 - (1 - c)^k`: it
    exceeds the true epsilon only if all k do. Each of these statements has the error that it states, however
    it was decided when to stop.

    Args:
        audits: The first one, and its repetitions in order, on one quantity and at one confidence c.

    Raises:
        SettingError: If they differ in what they bound, or in their confidence.
    """
    first = audits[0]
    if any(
        (one.bound.quantity, one.confidence) != (first.bound.quantity, first.confidence) for one in audits
    ):
        raise SettingError(
            "audits of several quantities, or at several confidences; expected repetitions of one audit"
        )
    if not isinstance(first.bound.evidence, ConfidenceLevels):
        raise SettingError("an audit without levels; expected what audit_one_run gave")
    alone = dict(zip(first.bound.evidence.confidences, first.bound.evidence.values, strict=True))
    levels = {
        level: value
        for level, value in alone.items()
        if level <= max(first.confidence, FIRST_AUDIT_CONFIDENCE)
    }
    for k in range(2, len(audits) + 1):
        level = float(1 - joint_error(first.confidence, k))
        if max(levels) < level < 1:
            levels[level] = min(one.epsilon for one in audits[:k])
    return replace(first.bound, evidence=ConfidenceLevels(tuple(levels), tuple(levels.values())))
