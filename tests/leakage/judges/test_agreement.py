"""Agreement and kappa are those of their definitions, and their intervals cover the truth."""

import numpy as np
import pytest

from quintain.core.errors import SettingError
from quintain.core.statistics import binomial_interval
from quintain.leakage.judges.agreement import judge_agreement, judge_kappa

MODEL = np.array([0, 0, 0, 1, 1, 0, 1, 0, 0, 1])
COPY = np.array([0, 0, 1, 1, 1, 0, 0, 0, 0, 1])


def test_agreement_is_a_fraction_with_an_exact_interval_and_the_best_baseline():
    found = judge_agreement(MODEL, COPY, {"own labels": np.ones(10, int)}, curve=[(10, 0.5), (20, 0.8)])
    assert found.value == 0.8
    assert (found.low, found.high) == binomial_interval(8, 10, 0.95)
    assert (found.baseline, found.baseline_name) == (0.6, "the majority class")
    assert found.gain == pytest.approx(0.2)
    assert found.per_example == (1, 1, 0, 1, 1, 1, 0, 1, 1, 1)
    better = judge_agreement(MODEL, COPY, {"own labels": MODEL})
    assert (better.baseline, better.baseline_name) == (1.0, "own labels")


def test_kappa_is_cohens():
    # rows and columns 6 and 4: chance .36 + .16 = .52
    found = judge_kappa(MODEL, COPY, {})
    assert found.value == pytest.approx((0.8 - 0.52) / 0.48)
    assert found.low < found.value < found.high <= 1
    assert judge_kappa(MODEL, MODEL, {}).value == 1
    assert judge_kappa(MODEL, 1 - MODEL, {}).value < 0
    assert judge_kappa(MODEL, np.zeros(10, int), {}).value == 0


@pytest.mark.parametrize(("p", "flip"), [(0.5, 0.1), (0.1, 0.05), (0.5, 0.5)])
def test_the_interval_of_kappa_covers_that_of_the_population(p, flip):
    q = p * (1 - flip) + (1 - p) * flip
    chance = p * q + (1 - p) * (1 - q)
    truth = (1 - flip - chance) / (1 - chance)
    rng, missed = np.random.default_rng(0), 0
    for _ in range(200):
        model = (rng.random(150) < p).astype(int)
        copy = np.where(rng.random(150) < flip, 1 - model, model)
        found = judge_kappa(model, copy, {})
        missed += not found.low <= truth <= found.high
    # at most 5 % are missed: more than 20 of 200 would be by a chance below 0.3 %
    assert missed <= 20


def test_constant_answers_have_no_kappa_and_a_trivial_lower_side():
    ones = np.ones(10, int)
    found = judge_kappa(ones, ones, {})
    assert (found.value, found.low) == (0, -1)


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(SettingError, match="expected one for each"):
        judge_agreement(MODEL, COPY[:5], {})
    with pytest.raises(SettingError, match="at least one example"):
        judge_agreement(MODEL[:0], COPY[:0], {})
    with pytest.raises(SettingError, match="kappa is taken for those alone"):
        judge_kappa(MODEL + 1, COPY, {})
