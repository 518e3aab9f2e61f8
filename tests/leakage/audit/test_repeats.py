"""Audits that repeat each other: what they say together is true as often as it says, and enough of them
contradict.
"""

import math
from fractions import Fraction

import numpy as np
import pytest

from quintain.core.errors import SettingError
from quintain.leakage import audit_one_run, joint_bound, repetitions
from quintain.leakage.audit.repeats import FIRST_AUDIT_CONFIDENCE, joint_error
from quintain.results import Basis, Bound, Bracket, Consistency, Quantity, Side
from quintain.results.quantity import Metric

OF = Quantity(Metric.EPSILON, delta=1e-5)


def audit(run, *, confidence=0.95, leaking=True, canaries=500):
    """An audit of a run that leaks everything, or nothing, with coins of its own."""
    rng = np.random.default_rng(run)
    coins = rng.random(canaries) < 0.5
    return audit_one_run(
        coins + 0.01 * rng.normal(size=canaries) if leaking else rng.normal(size=canaries),
        coins,
        confidence=confidence,
        quantity=OF,
    )


def status(audits, claim=3.0, comparisons=1):
    return Bracket(joint_bound(audits), Bound(OF, Side.UPPER, claim, Basis.PROOF)).consistency_among(
        comparisons
    )


@pytest.mark.parametrize(
    ("confidence", "comparisons", "expected"),
    [(0.99, 1, 3), (0.95, 1, 5), (0.95, 64, 6), (0.999, 1, 2), (0.99, 2, 4), (0.9999999, 1, 1)],
)
def test_how_often_a_crossing_is_repeated(confidence, comparisons, expected):
    assert repetitions(confidence, comparisons=comparisons) == expected
    assert joint_error(confidence, expected) <= Fraction(1, 10**6) / comparisons
    with pytest.raises(SettingError, match="comparisons = 0"):
        repetitions(confidence, comparisons=0)


@pytest.mark.parametrize(("confidence", "comparisons"), [(0.99, 1), (0.95, 1), (0.95, 20)])
def test_so_many_crossings_contradict_and_one_less_does_not(confidence, comparisons):
    enough = repetitions(confidence, comparisons=comparisons)
    audits = [audit(run, confidence=confidence) for run in range(enough)]
    assert status(audits, comparisons=comparisons) is Consistency.CONTRADICTION
    assert status(audits[:-1], comparisons=comparisons) is Consistency.SUSPECT
    assert status(audits[:1], comparisons=comparisons) is Consistency.SUSPECT


def test_one_repetition_that_does_not_cross_leaves_it_suspect():
    audits = [audit(run) for run in range(4)]
    assert status([*audits, audit(9, leaking=False)]) is Consistency.SUSPECT
    assert status([audit(9, leaking=False)]) is Consistency.CONSISTENT


def test_the_first_audit_speaks_alone_where_one_can_so_that_nobody_gains_by_repeating():
    weak, strong = audit(0, canaries=100), [audit(run) for run in range(1, 5)]
    alone, joint = joint_bound([weak]), joint_bound([weak, *strong])
    for confidence in (0.9, 0.95, 0.99, FIRST_AUDIT_CONFIDENCE):
        assert (
            joint.at_confidence(confidence)
            == alone.at_confidence(confidence)
            == weak.bound.at_confidence(confidence)
        )
    assert joint.at_confidence(1 - 1e-4) == joint.at_confidence(1 - 1e-6) == weak.epsilon
    assert alone.at_confidence(1 - 1e-4) == 0


@pytest.mark.parametrize("confidence", [0.6, 0.95, 0.99])
def test_each_statement_is_false_no_more_often_than_it_says(confidence):
    """By enumeration over which audits exceed the truth: at each level the joint bound does so in no more
    than its share.
    """
    error, enough = 1 - confidence, 4
    audits = {
        exceeds: audit(int(exceeds), confidence=confidence, leaking=exceeds) for exceeds in (True, False)
    }
    truth = 1.0
    wrong: dict[float, float] = {}
    for pattern in range(2**enough):
        which = [bool(pattern >> place & 1) for place in range(enough)]
        made = (
            which[: which.index(False) + 1] if False in which else which
        )  # stops at the first that does not cross
        probability = math.prod(error if one else 1 - error for one in which)
        bound = joint_bound([audits[one] for one in made])
        assert bound.evidence.confidences == tuple(sorted(set(bound.evidence.confidences)))
        for k in range(2, enough + 1):
            level = float(1 - joint_error(confidence, k))
            if level > FIRST_AUDIT_CONFIDENCE:
                wrong[level] = wrong.get(level, 0.0) + probability * (bound.at_confidence(level) > truth)
    for level, share in wrong.items():
        assert share <= 1 - level + 1e-12


def test_audits_of_several_quantities_say_nothing_together():
    with pytest.raises(SettingError, match="repetitions of one audit"):
        joint_bound([audit(0), audit(1, confidence=0.99)])
