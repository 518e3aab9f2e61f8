"""Counts and confidence levels: what they bound, and what is refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintain.core.errors import SettingError
from quintain.results import (
    ConfidenceLevels,
    CountEvidence,
    Side,
)
from tests.results.support.brackets import audited


def test_a_level_that_was_not_worked_out_is_trivial():
    assert audited(0.9).at_confidence(1 - 1e-9) == 0.0


@given(st.integers(1, 200), st.floats(0, 0.01), st.data())
def test_false_verdicts_only_loosen(trials, alpha, data):
    hits = data.draw(st.integers(0, trials))
    exact, doubtful = CountEvidence(hits, trials), CountEvidence(hits, trials, alpha)
    assert doubtful.on_population(Side.LOWER, 0.95) <= exact.on_population(Side.LOWER, 0.95)
    assert doubtful.on_population(Side.UPPER, 0.95) >= exact.on_population(Side.UPPER, 0.95)


@pytest.mark.parametrize("alpha", [-0.1, 1.0, math.nan])
def test_an_impossible_chance_of_a_false_verdict_is_refused(alpha):
    with pytest.raises(SettingError, match="alpha"):
        CountEvidence(1, 2, alpha)


@pytest.mark.parametrize(
    "levels", [((0.99, 0.95), (1.0, 1.0)), ((0.95,), ()), ((0.95, 1.0), (1.0, 1.0)), ((math.nan,), (1.0,))]
)
def test_impossible_levels_are_refused(levels):
    with pytest.raises(SettingError, match="rising confidences"):
        ConfidenceLevels(*levels)
