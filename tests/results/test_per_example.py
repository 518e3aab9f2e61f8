"""Counts and curves follow from two radii an example."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintain.core.errors import SettingError
from quintain.results import ClassCounts, ExampleState, PerExample

INF = math.inf


SIX = PerExample(
    ids=(0, 1, 2, 3, 4, 5),
    labels=(0, 0, 1, 1, 1, 1),
    predicted=(0, 1, 1, 1, 1, -1),
    certified_radius=(0.05, 0.0, 0.02, 0.0, 0.0, 0.0),
    broken_radius=(INF, 0.0, 0.03, 0.01, INF, 0.0),
    invalid=(False, False, False, False, False, True),
)


def test_states_at_a_size():
    assert SIX.states(0.02) == (
        ExampleState.CERTIFIED,
        ExampleState.WRONG,
        ExampleState.CERTIFIED,
        ExampleState.BROKEN,
        ExampleState.OPEN,
        ExampleState.ERROR,
    )
    assert SIX.states(0.04)[2] is ExampleState.BROKEN


def test_counts_at_a_size():
    assert SIX.certified_counts(0.02, 2) == ClassCounts((1, 1), (2, 4))
    assert SIX.unbroken_counts(0.02, 2) == ClassCounts((1, 3), (2, 4))


def test_an_example_without_a_number_is_neither_robust_below_nor_broken_above():
    assert SIX.certified_counts(0.0, 2).correct[1] < SIX.unbroken_counts(0.0, 2).correct[1]


def test_no_examples_cross_here_and_one_does_from_the_size_that_breaks_what_was_proved():
    assert SIX.contradictory_ids(0.02) == ()
    both = PerExample((7,), (1,), (1,), (0.05,), (0.01,), (False,))
    assert both.contradictory_ids(0.02) == (7,)
    assert both.contradictory_ids(0.06) == (7,)
    assert both.contradictory_ids(0.005) == ()


@pytest.mark.parametrize(
    ("predicted", "safe", "failed", "crosses"),
    [
        (1, 0.05, False, True),
        (1, 0.0, False, False),
        (-1, 0.05, False, False),
        (1, 0.05, True, False),
        (0, 0.05, False, False),
    ],
)
def test_a_proved_radius_with_another_answer_than_the_label_crosses_at_every_size(
    predicted, safe, failed, crosses
):
    broken = 0.0 if predicted else INF
    one = PerExample((7,), (0,), (predicted,), (safe,), (broken,), (failed,))
    assert all(one.contradictory_ids(eps) == ((7,) if crosses else ()) for eps in (0.0, 0.01, 1.0))


radius = st.one_of(st.just(0.0), st.just(INF), st.floats(0, 1))


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 1), st.floats(0, 1), radius), min_size=1, max_size=20
    ),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_curves_fall_with_the_size_of_change(rows, a, b):
    labels, predicted, safe, broken = zip(*rows, strict=True)
    examples = PerExample(tuple(range(len(rows))), labels, predicted, safe, broken, (False,) * len(rows))
    low, high = sorted((a, b))
    assert examples.certified_counts(high, 2).num_correct <= examples.certified_counts(low, 2).num_correct
    assert examples.unbroken_counts(high, 2).num_correct <= examples.unbroken_counts(low, 2).num_correct
    if not examples.contradictory_ids(low):
        assert examples.certified_counts(low, 2).num_correct <= examples.unbroken_counts(low, 2).num_correct


def test_columns_have_one_length():
    with pytest.raises(SettingError, match="got labels of 2 for 1 ids; expected one entry per id"):
        PerExample((0,), (0, 1), (0,), (0.0,), (INF,), (False,))


@pytest.mark.parametrize(
    ("safe", "broken", "message"),
    [
        (math.nan, INF, "got certified_radius = nan"),
        (0.0, math.nan, "got broken_radius = nan"),
        (-0.1, INF, "got certified_radius = -0.1; expected a number of at least 0"),
    ],
)
def test_a_radius_is_a_number_from_zero_up(safe, broken, message):
    with pytest.raises(SettingError, match=message):
        PerExample((0,), (1,), (1,), (safe,), (broken,), (False,))


def test_examples_print_their_number() -> None:
    count = 624
    many = PerExample(
        tuple(range(count)), (0,) * count, (0,) * count, (0.0,) * count, (1.0,) * count, (False,) * count
    )
    assert repr(many) == "PerExample(624 examples)"


def test_a_size_that_sampling_left_open_is_abstained_on_and_larger_ones_are_not():
    known = {"labels": (1,) * 4, "predicted": (1,) * 4, "invalid": (False,) * 4}
    one = PerExample(
        (0, 1, 2, 3),
        certified_radius=(0.1, 0.0, 0.2, 0.0),
        broken_radius=(INF, INF, INF, 0.1),
        abstained_radius=(0.2, 0.1, 0.0, 0.2),
        **known,
    )
    assert one.states(0.1) == (
        ExampleState.CERTIFIED,
        ExampleState.ABSTAIN,
        ExampleState.CERTIFIED,
        ExampleState.BROKEN,
    )
    assert one.states(0.2) == (
        ExampleState.ABSTAIN,
        ExampleState.OPEN,
        ExampleState.CERTIFIED,
        ExampleState.BROKEN,
    )
    assert one.state(1, 0.0) is ExampleState.OPEN
    with pytest.raises(SettingError, match="abstained_radius of 1 for 2 ids"):
        PerExample((0, 1), (1, 1), (1, 1), (0.0, 0.0), (INF, INF), (False, False), (0.1,))
    with pytest.raises(SettingError, match=r"got abstained_radius = -0\.1"):
        PerExample((0,), (1,), (1,), (0.0,), (INF,), (False,), (-0.1,))
