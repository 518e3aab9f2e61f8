import itertools
import math

import numpy as np
import pytest
from scipy.stats import beta, norm

from quintain.core.errors import DataError, SettingError
from quintain.leakage.judges.membership import (
    ADVANTAGE,
    AUC,
    coarse_rates,
    fewest_others,
    fpr_interval,
    judge_membership,
    name_of_rate,
)
from quintain.leakage.judges.ranked_scores import area_under_curve, most_exposed, rank_scores
from quintain.leakage.judges.trade_off import EpsilonDelta, max_advantage, max_auc

AT_ONE_PERCENT = name_of_rate(0.01)


def judged(scores, truth, **given):
    return {one.measure: one for one in judge_membership(scores, truth, **given)}


def gaussian(shift, members, others, seed):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.standard_normal(members) + shift, rng.standard_normal(others)])
    return scores, np.arange(members + others) < members


def test_scores_of_a_known_law_give_its_curve():
    found = judged(*gaussian(1.5, 20000, 20000, 0))
    assert found[AUC].value == pytest.approx(norm.cdf(1.5 / math.sqrt(2)), abs=0.01)
    assert found[AT_ONE_PERCENT].value == pytest.approx(norm.cdf(norm.ppf(0.01) + 1.5), abs=0.02)
    # the largest TPR - FPR of two normal laws is at half of the shift
    assert found[ADVANTAGE].value == pytest.approx(2 * norm.cdf(0.75) - 1, abs=0.02)
    assert all(one.low <= one.value <= one.high for one in found.values())


def test_the_area_is_the_share_of_ordered_pairs():
    rng = np.random.default_rng(1)
    scores, truth = rng.integers(0, 4, 40).astype(float), rng.random(40) < 0.4
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(scores[truth], scores[~truth])
    ]
    assert area_under_curve(rank_scores(scores, truth)) == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize("rate", [0.001, 0.01])
def test_the_realized_false_positive_rate_has_its_law(rate):
    rng, others = np.random.default_rng(2), 1200
    k = math.floor(rate * others)
    realized = [1 - np.sort(rng.random(others))[-k - 1] for _ in range(2000)]
    low, high = fpr_interval(rate, others)
    assert (low, high) == pytest.approx(beta(k + 1, others - k).interval(0.95))
    outside = np.mean([not low <= one <= high for one in realized])
    assert outside == pytest.approx(0.05, abs=0.02)


def test_figures_of_the_false_positive_rate():
    # upper limits at 0.1 % with 1,000, 4,700 and 10,000 others, one-sided 95 %
    assert [round(100 * fpr_interval(0.001, n, 0.9)[1], 2) for n in (1000, 4700, 10000)] == [0.47, 0.19, 0.17]


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("members_first", [False, True])
def test_ties_favor_nobody_in_any_order(levels, members_first):
    found = []
    for run in range(200):
        rng = np.random.default_rng((3, run))
        truth = np.arange(400) < 200 if members_first else rng.permutation(np.arange(400) < 200)
        found.append(judged(rng.integers(0, levels, 400), truth, seed=run))
    for measure, expected in ((AT_ONE_PERCENT, 3 / 201), (AUC, 0.5)):
        mean = np.mean([one[measure].value for one in found])
        assert mean == pytest.approx(expected, abs=0.004 if measure != AUC else 0.01)
    # at least 95 % of intervals cover; 200 runs of exactly that have 180 or fewer with probability 0.1 %
    for measure in (AT_ONE_PERCENT, AUC, ADVANTAGE):
        baseline = 3 / 201 if measure == AT_ONE_PERCENT else found[0][measure].baseline
        assert sum(one[measure].low <= baseline <= one[measure].high for one in found) >= 181


def test_equal_scores_are_ordered_by_their_ids_and_not_by_their_place():
    rng = np.random.default_rng(4)
    scores, truth, ids = rng.integers(0, 3, 300), rng.random(300) < 0.5, rng.permutation(1000)[:300]
    order = rng.permutation(300)
    first, second = judged(scores, truth, ids=ids), judged(scores[order], truth[order], ids=ids[order])
    assert first[AT_ONE_PERCENT].value == second[AT_ONE_PERCENT].value
    assert first[AUC].value == second[AUC].value


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_intervals_cover_the_truth(shift):
    covered = {AUC: 0, ADVANTAGE: 0}
    truth = {AUC: norm.cdf(shift / math.sqrt(2)), ADVANTAGE: 2 * norm.cdf(shift / 2) - 1}
    for run in range(200):
        found = judged(*gaussian(shift, 60, 40, (5, run)))
        for measure in covered:
            covered[measure] += found[measure].low <= truth[measure] <= found[measure].high
    assert min(covered.values()) >= 181


def test_a_private_mechanism_stays_below_its_ceiling():
    # randomized response at epsilon 1 meets its ceiling exactly
    epsilon, crossed = 1.0, 0
    for run in range(200):
        rng = np.random.default_rng((6, run))
        truth = rng.random(600) < 0.5
        scores = truth ^ (rng.random(600) >= 1 / (1 + math.exp(-epsilon)))
        found = judged(scores.astype(float), truth, seed=run, max_tpr=EpsilonDelta(epsilon))
        crossed += any(one.low > one.ceiling for one in found.values())
    assert crossed <= 15  # of four measures, each at 2.5 %: far below, since intervals are wide


def test_ceilings_are_closed_forms():
    claim = EpsilonDelta(1.0, 0.01)
    assert claim(0.0) == 0.01
    assert claim(1.0) == 1.0
    exact = (math.exp(1.0) - 1 + 2 * 0.01) / (math.exp(1.0) + 1)
    assert exact <= max_advantage(claim) <= exact + 0.002
    # the curve is two segments that meet where TPR + FPR = 1
    fpr = (1 - 0.01) / (1 + math.exp(1.0))
    area = (0.01 + 1 - fpr) / 2 * fpr + (1 - fpr + 1 - 0.01 * 0) / 2 * (1 - fpr)
    assert max_auc(claim) == pytest.approx(area, abs=0.005)
    assert max_auc(EpsilonDelta(0.0)) == pytest.approx(0.5, abs=0.001)
    assert max_advantage(EpsilonDelta(1000.0)) == 1.0
    with pytest.raises(SettingError, match="expected epsilon >= 0"):
        EpsilonDelta(-1.0)


def test_a_callable_trade_off_is_the_ceiling():
    def gaussian_trade_off(fpr):
        return float(norm.cdf(norm.ppf(fpr) + 1.0))

    found = judged(*gaussian(1.0, 500, 500, 7), max_tpr=gaussian_trade_off)
    assert found[AUC].ceiling == pytest.approx(norm.cdf(1 / math.sqrt(2)), abs=0.002)
    assert found[ADVANTAGE].ceiling == pytest.approx(2 * norm.cdf(0.5) - 1, abs=0.002)
    assert all(one.low <= one.ceiling for one in found.values())


def test_too_few_others_for_a_rate_are_named_with_the_interval_that_they_allow():
    (both,) = coarse_rates(400)
    assert "TPR at 0.1 % FPR (which takes 4,380) and TPR at 1 % FPR (which takes 437)" in both
    assert f"up to {100 * fpr_interval(0.01, 400)[1]:.2g} %" in both
    (one,) = coarse_rates(437)
    assert "TPR at 0.1 % FPR (which takes 4,380);" in one
    assert f"up to {100 * fpr_interval(0.001, 437)[1]:.2g} %" in one
    assert coarse_rates(4380) == ()


def test_so_many_others_show_a_full_leak_and_one_less_does_not():
    for others, shown in ((fewest_others(0.01), True), (fewest_others(0.01) - 1, False)):
        scores, truth = gaussian(100.0, 500, others, 0)
        assert (judged(scores, truth)[AT_ONE_PERCENT].low > 0) == shown


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_the_interval_of_a_rate_covers_the_rate_at_exactly_that_false_positive_rate(shift):
    truth = norm.cdf(norm.ppf(0.01) + shift)
    found = [judged(*gaussian(shift, 150, 600, (9, run)))[AT_ONE_PERCENT] for run in range(200)]
    assert sum(one.low <= truth <= one.high for one in found) >= 181
    if shift:
        assert np.mean([one.low for one in found]) > 0.05


def test_the_most_exposed_are_members_the_surest_first():
    scores, truth = np.array([5.0, 4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, True, False])
    assert most_exposed(scores, truth, ids=np.arange(10, 15)) == (10,)
    exposure = judge_membership(scores, truth)[0].per_example
    assert exposure == (1.0, 1.0, 0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        ([1.0, math.nan], [True, False], "1 of 2 scores are NaN"),
        ([1.0, 2.0], [True, True], "expected some members and some others"),
        ([1.0, 2.0], [False, False], "0 members of 2"),
        ([1.0, 2.0], [True], "one number each"),
        ([1.0, 2.0], [1, 0], "expected booleans"),
    ],
)
def test_what_cannot_be_judged_is_refused(scores, truth, message):
    with pytest.raises(DataError, match=message):
        judge_membership(scores, np.array(truth))
