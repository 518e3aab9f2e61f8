"""Planted faults in the judge of membership, each with the check that catches it; the code itself passes."""

import math

import numpy as np
import pytest

from quintain.core.statistics import binomial_lower
from quintain.leakage.judges import membership, ranked_scores


def check_null(levels, members, others, measure):
    """Of scores that tell nothing at most 5 % may show a gain; 40 runs of that have 6 or more with 1.4 %."""
    shown = 0
    for run in range(40):
        rng = np.random.default_rng((members, run))
        scores = rng.integers(0, levels, members + others) if levels else rng.random(members + others)
        truth = np.arange(members + others) < members
        found = {one.measure: one for one in membership.judge_membership(scores, truth, seed=run)}
        shown += found[measure].low > found[measure].baseline
    assert shown <= 5


AT_ONE_PERCENT = membership.name_of_rate(0.01)


def test_ties_broken_by_the_order_of_an_array_with_members_first(monkeypatch):
    check_null(2, 500, 500, AT_ONE_PERCENT)
    monkeypatch.setattr(ranked_scores, "derive_seed", lambda seed, *path: path[-1] if "tie" in path else seed)
    with pytest.raises(AssertionError):
        check_null(2, 500, 500, AT_ONE_PERCENT)


def test_a_threshold_that_is_taken_for_one_of_exactly_the_false_positive_rate(monkeypatch):
    check_null(0, 5000, 100, AT_ONE_PERCENT)
    monkeypatch.setattr(
        membership,
        "_rate_interval",
        lambda ranked, rate, confidence: (
            binomial_lower(
                ranked.hits_before(membership.allowed_false_alarms(rate, ranked.num_others)),
                ranked.num_members,
                confidence,
            ),
            1.0,
        ),
    )
    with pytest.raises(AssertionError):
        check_null(0, 5000, 100, AT_ONE_PERCENT)


def test_the_best_advantage_of_all_thresholds_that_is_not_paid_for(monkeypatch):
    check_null(0, 100, 100, membership.ADVANTAGE)
    monkeypatch.setattr(membership, "math", NoBand)
    with pytest.raises(AssertionError):
        check_null(0, 100, 100, membership.ADVANTAGE)


class NoBand:
    """``math`` without the width of a band."""

    inf = float("inf")
    log, floor = staticmethod(math.log), staticmethod(math.floor)

    @staticmethod
    def sqrt(value):
        return 0.0
