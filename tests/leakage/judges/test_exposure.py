"""Exposure is that of its definition, null mean and ceiling are closed forms, intervals hold their level."""

import math

import numpy as np
import pytest

from quintain.core.errors import DataError, SettingError
from quintain.core.statistics import binomial_interval
from quintain.leakage.judges.bounded_mean import bounded_mean_interval
from quintain.leakage.judges.exposure import (
    canary_ranks,
    exposures,
    judge_exposure,
    judge_found_canaries,
    max_exposure,
    mean_null_exposure,
)
from quintain.leakage.judges.trade_off import EpsilonDelta

LN2 = math.log(2)


def test_the_rank_counts_references_above_and_a_tie_is_broken_by_chance():
    canary = np.array([3.0, 0.5, -1.0])
    references = np.array([[0.0, 1.0, 2.0]] * 3)
    assert canary_ranks(canary, references, seed=0).tolist() == [1, 3, 4]
    assert exposures(np.array([1, 3, 4]), 3) == pytest.approx([2, 2 - math.log2(3), 0])
    # among equals any place is as likely, in whatever order they are stored
    ranks = canary_ranks(np.zeros(4000), np.zeros((4000, 3)), seed=1)
    assert np.bincount(ranks)[1:] / 4000 == pytest.approx([0.25] * 4, abs=0.03)


def test_the_mean_of_those_not_trained_on_is_nearly_one_over_ln_2():
    for references in (1, 5, 40):
        ranks = np.arange(1, references + 2)
        assert mean_null_exposure(references) == pytest.approx(exposures(ranks, references).mean())
    assert mean_null_exposure(10**6) == pytest.approx(1 / LN2, abs=1e-4)


def test_the_ceiling_is_that_of_the_worst_law_of_ranks():
    assert max_exposure(1023, EpsilonDelta(0.0)) == pytest.approx(mean_null_exposure(1023))
    assert max_exposure(1023, EpsilonDelta(50.0)) == pytest.approx(10)
    # pure privacy: e^eps times as likely on the first ranks, until all probability is spent
    count, epsilon = 64, LN2
    density = np.where(np.arange(count) < count // 3, 2 / count, 0.5 / count)
    density[count // 3] = 1 - density.sum() + density[count // 3]
    assert (density <= 2 / count + 1e-12).all()
    worst = float(density @ exposures(np.arange(1, count + 1), count - 1))
    assert max_exposure(count - 1, EpsilonDelta(epsilon)) == pytest.approx(worst)
    values = [
        max_exposure(255, EpsilonDelta(epsilon, delta)) for epsilon in (0, 0.5, 1, 3) for delta in (0, 0.01)
    ]
    assert values == sorted(values)


def test_ranks_are_limited_from_both_sides():
    # first of two: half of those not trained on are, so that the others are e^-eps / 2 at least
    assert max_exposure(1, EpsilonDelta(1.0)) == pytest.approx(1 - math.exp(-1) / 2)


def test_judgments_are_of_all_canaries():
    ranks = np.array([1] * 5 + [512] * 15)
    mean = judge_exposure(ranks, 1023, max_tpr=EpsilonDelta(1.0, 1e-5))
    assert mean.value == pytest.approx((5 * 10 + 15) / 20)
    assert mean.low < mean.value < mean.high
    assert mean.baseline == mean_null_exposure(1023)
    assert mean.ceiling == max_exposure(1023, EpsilonDelta(1.0, 1e-5))
    assert "10.0 can be seen" in mean.measure
    assert mean.curve[0] == (0, 1)
    assert mean.curve[1] == (1, 1)
    assert mean.curve[2] == (2, 0.25)
    assert mean.curve[-1] == (10, 0.25)
    found = judge_found_canaries(ranks, 1023)
    assert (found.value, found.low, found.high) == (0.25, *binomial_interval(5, 20, 0.95))
    assert found.baseline == 10 / 1024
    assert found.ceiling is None
    assert found.per_example == (1.0,) * 5 + (0.0,) * 15


@pytest.mark.parametrize("seed", [0, 1])
def test_of_canaries_that_were_not_trained_on_both_intervals_hold_the_null(seed):
    rng, missed = np.random.default_rng(seed), [0, 0]
    for repeat in range(150):
        # canaries and references of one label share a model's scores, as in a run
        scores = rng.standard_normal(50 + 255)
        ranks = canary_ranks(scores[:50], np.tile(scores[50:], (50, 1)), seed=repeat)
        for number, judgment in enumerate(
            (judge_exposure(ranks, 255), judge_found_canaries(ranks, 255, fpr=0.05))
        ):
            missed[number] += not judgment.low <= judgment.baseline <= judgment.high
    assert max(missed) <= 15  # 5 % are 7.5; more than 15 has a chance of 0.3 %


@pytest.mark.parametrize("law", ["coin", "even", "rare"])
def test_the_interval_of_a_mean_holds_its_level_and_is_short(law):
    rng, missed, widths = np.random.default_rng(0), 0, []
    for _ in range(100):
        values = {
            "coin": rng.integers(0, 2, 100) * 10.0,
            "even": 4 + rng.random(100),
            "rare": np.where(rng.random(100) < 0.03, 10.0, 0.0),
        }[law]
        low, high = bounded_mean_interval(values, 0.0, 10.0)
        missed += not low <= {"coin": 5.0, "even": 4.5, "rare": 0.3}[law] <= high
        widths.append(high - low)
    assert missed <= 11  # 5 % are 5; more than 11 has a chance of 0.4 %
    assert np.mean(widths) < {"coin": 2.8, "even": 0.8, "rare": 1.4}[law]


def test_bad_input_is_refused():
    with pytest.raises(SettingError, match="9 canaries; expected at least 10"):
        judge_exposure(np.ones(9, int), 100)
    with pytest.raises(SettingError, match="9 canaries; expected at least 10"):
        judge_found_canaries(np.ones(9, int), 100)
    with pytest.raises(SettingError, match="expected at least 99"):
        judge_found_canaries(np.ones(10, int), 50)
    with pytest.raises(DataError, match="a score is NaN"):
        canary_ranks(np.array([np.nan]), np.zeros((1, 3)), seed=0)
    with pytest.raises(SettingError, match="expected some for each"):
        canary_ranks(np.zeros(2), np.zeros((1, 3)), seed=0)
    with pytest.raises(SettingError, match=r"each in \[0, 1\]"):
        bounded_mean_interval(np.array([2.0]), 0.0, 1.0)
