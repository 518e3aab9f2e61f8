"""Bounds and brackets: what they say, and when two sides cross."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from quintain.core.errors import SettingError
from quintain.results import (
    Basis,
    Bound,
    Bracket,
    ConfidenceLevels,
    Consistency,
    Quantity,
    Side,
)
from quintain.results.quantity import Metric
from quintain.results.verdict import Decision
from tests.results.support.brackets import EPSILON, ROBUST, accounted, accuracy, audited, counted


def test_a_population_interval_is_clopper_pearson_with_half_of_the_error_on_each_side():
    low, high = accuracy(455, 461).confidence_interval(0.95)
    assert low == pytest.approx(binomtest(455, 624).proportion_ci(0.95).low)
    assert high == pytest.approx(binomtest(461, 624).proportion_ci(0.95).high)


def test_of_the_sample_itself_the_counts_are_exact():
    assert accuracy(455, 461).confidence_interval(population=False) == (455 / 624, 461 / 624)


def test_an_epsilon_spends_all_of_its_error_on_the_audit():
    assert Bracket(audited(0.9), accounted(3.0)).confidence_interval(0.95) == (0.9, 3.0)


def test_errors_forbid_a_pass_but_not_a_fail():
    assert accuracy(455, 461, num_invalid=1).at_least(0.5).decision is Decision.UNDECIDED
    assert accuracy(455, 461, num_invalid=1).at_least(0.9).decision is Decision.FAIL


def test_crossing_proofs_and_witnesses_contradict():
    assert accuracy(462, 461).consistency is Consistency.CONTRADICTION
    assert accuracy(461, 462, num_contradictory=1).consistency is Consistency.CONTRADICTION
    assert accuracy(462, 461).at_least(0.5).decision is Decision.UNDECIDED


def test_a_crossing_that_chance_explains_is_suspect_and_one_that_it_does_not_contradicts():
    def smoothed(crossed):
        low = counted(Side.LOWER, 80, 100, Basis.STATISTICAL, 0.001)
        return Bracket(
            low, counted(Side.UPPER, 90, 100, Basis.STATISTICAL, 0.001), num_contradictory=crossed
        ).consistency

    assert [smoothed(k) for k in (0, 1, 20)] == [
        Consistency.CONSISTENT,
        Consistency.SUSPECT,
        Consistency.CONTRADICTION,
    ]


def test_a_suspect_crossing_never_passes_and_may_fail():
    low, high = (counted(side, 90, 100, Basis.STATISTICAL, 0.001) for side in (Side.LOWER, Side.UPPER))
    suspect = Bracket(low, high, num_contradictory=1)
    assert suspect.consistency is Consistency.SUSPECT
    for population in (True, False):
        assert Bracket(low, high).at_least(0.5, population=population).decision is Decision.PASS
        verdict = suspect.at_least(0.5, population=population)
        assert verdict.decision is Decision.UNDECIDED
        assert "rerun" in verdict.reason
        assert suspect.at_least(0.99, population=population).decision is Decision.FAIL
    audit = Bracket(audited(3.2, (3.2, 2.9, 2.0)), accounted(3.0))
    assert audit.consistency is Consistency.SUSPECT
    assert audit.at_most(4.0).decision is Decision.UNDECIDED
    assert audit.at_most(3.1).decision is Decision.FAIL


@pytest.mark.parametrize("comparisons", [1, 50])
def test_chance_raises_the_alarm_less_than_once_in_a_million_runs(comparisons):
    def status(crossed, hits):
        low = counted(Side.LOWER, hits, 100, Basis.STATISTICAL, 0.001)
        high = counted(Side.UPPER, 80, 100, Basis.STATISTICAL, 0.002)
        return Bracket(low, high, num_contradictory=crossed).consistency_among(comparisons)

    alarms = [k for k in range(1, 21) if status(k, 80) is Consistency.CONTRADICTION]
    assert alarms == list(range(alarms[0], 21))
    assert binom.sf(alarms[0] - 1, 100, 0.003) < 1e-6 / comparisons <= binom.sf(alarms[0] - 2, 100, 0.003)
    assert [k for k in range(1, 21) if status(0, 80 + k) is Consistency.CONTRADICTION] == alarms


def test_an_audit_above_the_accountant_contradicts_only_at_a_high_level():
    assert Bracket(audited(3.2, (3.2, 2.9, 2.0)), accounted(3.0)).consistency is Consistency.SUSPECT
    assert Bracket(audited(5.0, (5.0, 4.9, 4.0)), accounted(3.0)).consistency is Consistency.CONTRADICTION


def test_an_epsilon_that_an_audit_shows_to_be_larger_fails_even_where_the_two_sides_contradict():
    bracket = Bracket(audited(5.0, (5.0, 4.9, 4.0)), accounted(3.0))
    assert bracket.consistency is Consistency.CONTRADICTION
    assert bracket.at_most(4.5).decision is Decision.FAIL
    assert bracket.at_most(6.0).decision is bracket.at_least(1.0).decision is Decision.UNDECIDED
    assert accuracy(462, 461).at_most(0.5).decision is Decision.UNDECIDED


def test_among_many_comparisons_more_is_needed():
    levels = ConfidenceLevels((0.95, 1 - 1e-6, 1 - 1e-8), (5.0, 3.1, 2.9))
    bracket = Bracket(Bound(EPSILON, Side.LOWER, 5.0, Basis.STATISTICAL, levels), accounted(3.0))
    assert bracket.consistency_among(1) is Consistency.CONTRADICTION
    assert bracket.consistency_among(100) is Consistency.SUSPECT


@given(st.integers(1, 300), st.data())
def test_lower_confidence_never_widens_a_bracket(trials, data):
    low = data.draw(st.integers(0, trials))
    high = data.draw(st.integers(low, trials))
    (a, b), (c, d) = (
        accuracy(low, high, trials).confidence_interval(0.9),
        accuracy(low, high, trials).confidence_interval(0.99),
    )
    assert c <= a <= low / trials <= high / trials <= b <= d


@pytest.mark.parametrize(
    "change", [{"data_hash": "other"}, {"threat": "linf:8/255"}, {"subject_hash": "other"}]
)
def test_bounds_on_two_quantities_do_not_meet(change):

    upper = Bound(replace(ROBUST, **change), Side.UPPER, 1.0, Basis.TRIVIAL)
    with pytest.raises(SettingError, match="a bracket needs one"):
        Bracket(counted(Side.LOWER, 1, 2), upper)


def test_an_epsilon_of_all_iterates_implies_that_of_the_last():

    last = replace(EPSILON, released="last iterate")
    lower = Bound(last, Side.LOWER, 1.0, Basis.STATISTICAL, ConfidenceLevels((0.95,), (1.0,)))
    assert Bracket(lower, accounted(3.0)).consistency is Consistency.CONSISTENT
    with pytest.raises(SettingError):
        Bracket(audited(1.0), Bound(last, Side.UPPER, 3.0, Basis.PROOF))


def test_sides_have_their_places():
    with pytest.raises(SettingError, match="a lower and an upper bound"):
        Bracket(counted(Side.UPPER, 1, 2), counted(Side.LOWER, 1, 2))


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_an_impossible_value_is_refused(value):
    with pytest.raises(SettingError, match="expected a number in"):
        Bound(ROBUST, Side.LOWER, value, Basis.PROOF)


@pytest.mark.parametrize("words", [{"num_contradictory": -1}, {"num_invalid": -1}])
def test_impossible_counts_are_refused(words):
    with pytest.raises(SettingError, match="expected counts"):
        accuracy(1, 2, **words)


def test_trivial_sides():
    assert Bound.trivial(EPSILON, Side.UPPER).value == math.inf
    assert Bound.trivial(ROBUST, Side.LOWER).value == 0


def test_a_bracket_prints_its_quantity_and_both_sides_rounded_outwards() -> None:
    assert repr(accuracy(455, 461)) == "Bracket(robust_accuracy(linf:4/255) between 0.7291 and 0.7388)"
    assert repr(accuracy(461, 455)).endswith(", CONTRADICTION)")


def test_an_epsilon_prints_its_delta_and_infinity() -> None:
    quantity = Quantity(Metric.EPSILON, delta=1e-5)
    lower = Bound(quantity, Side.LOWER, 0.93, Basis.STATISTICAL)
    text = repr(Bracket(lower, Bound.trivial(quantity, Side.UPPER)))
    assert text == "Bracket(epsilon(delta=1e-5) between 0.93 and inf)"
