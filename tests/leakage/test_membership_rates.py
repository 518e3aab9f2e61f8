"""Lower bounds on how well members are told: their level, their power, and when they contradict a claim."""

import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from quintain.core.errors import SettingError
from quintain.leakage import EpsilonDelta
from quintain.leakage.membership_rates import (
    MembershipScores,
    advantage_levels,
    tpr_levels,
)
from quintain.results.bounds import Bound, Bracket
from quintain.results.quantity import Basis, Metric, Quantity, Side

REPEATS = 400
FALSE_ALARMS = 33
"""More of 400 than chance brings about once in a thousand, at 5 %."""


def drawn(mu, members, others, seed):
    rng = np.random.default_rng(seed)
    return MembershipScores.from_scores(rng.normal(mu, 1, members), rng.normal(0, 1, others))


@pytest.mark.parametrize(("members", "others"), [(60, 60), (400, 100), (100, 400)])
@pytest.mark.parametrize("mu", [0.0, 1.5])
def test_neither_bound_exceeds_the_true_rate_more_often_than_it_says(mu, members, others):
    tpr, advantage = norm.cdf(norm.ppf(0.05) + mu), 2 * norm.cdf(mu / 2) - 1
    found = [drawn(mu, members, others, seed) for seed in range(REPEATS)]
    assert sum(tpr_levels(one, 0.05).at(0.95, 0.0) > tpr for one in found) < FALSE_ALARMS
    assert sum(advantage_levels(one).at(0.95, 0.0) > advantage for one in found) < FALSE_ALARMS


@pytest.mark.parametrize("repeats", [200, pytest.param(1000, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize(("members", "others"), [(60, 60), (100, 400)])
@pytest.mark.parametrize(
    ("of_members", "of_others", "tpr", "advantage"),
    [
        # law of each score from the lowest up, TPR at 5 % FPR with ties at random, largest TPR - FPR
        pytest.param([1.0], [1.0], 0.05, 0.0, id="constant"),
        pytest.param([0.2, 0.8], [0.2, 0.8], 0.05, 0.0, id="binary, nothing told"),
        pytest.param([0.5, 0.5], [0.9, 0.1], 0.25, 0.4, id="binary"),
        pytest.param([0.3, 0.3, 0.4], [0.6, 0.3, 0.1], 0.2, 0.3, id="three levels"),
    ],
)
def test_the_bounds_hold_where_scores_are_equal(
    of_members, of_others, tpr, advantage, members, others, repeats
):
    misses = np.zeros(2, dtype=int)
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        levels = np.arange(len(of_members))
        drawn_scores = MembershipScores.from_scores(
            rng.choice(levels, members, p=of_members), rng.choice(levels, others, p=of_others), seed=seed
        )
        bounds = [tpr_levels(drawn_scores, 0.05), advantage_levels(drawn_scores)]
        misses += [
            bound.at(0.95, 0.0) > truth + 1e-9 for bound, truth in zip(bounds, (tpr, advantage), strict=True)
        ]
    # chance brings about more than so many once in a thousand, at 5 %
    assert misses.max() <= binom.ppf(0.999, repeats, 0.05)


@pytest.mark.parametrize(("right", "low"), [(1600, 0.134), (1100, 0.35)])
def test_a_threshold_within_equal_scores_shows_what_labels_tell(right, low):
    """All members and some of 2,000 others are predicted right: the advantage is the fraction of the rest."""
    labels = MembershipScores.from_scores([1.0] * 2000, [1.0] * right + [0.0] * (2000 - right))
    assert low < advantage_levels(labels).at(0.95, 0.0) < 1 - right / 2000


def test_a_perfect_attack_shows_what_so_few_others_allow():
    sure = MembershipScores.from_scores([1.0] * 500, [0.0] * 500)
    assert tpr_levels(sure, 0.01).at(0.95, 0.0) > 0.98
    assert advantage_levels(sure).at(0.95, 0.0) > 0.95
    # among 20 others the rate of false alarms is known to be below 17 % alone: what is found counts by 1/17
    few = tpr_levels(MembershipScores.from_scores([1.0] * 500, [0.0] * 20), 0.01).at(0.95, 0.0)
    assert 0.05 < few < 0.07


def test_a_bound_falls_as_its_confidence_rises():
    for levels in (tpr_levels(drawn(2, 300, 300, 0), 0.01), advantage_levels(drawn(2, 300, 300, 0))):
        assert list(levels.values) == sorted(levels.values, reverse=True)
        assert len(levels.confidences) == len(set(levels.confidences))


def test_what_a_claim_allows_is_the_closed_form_at_its_corners():
    assert EpsilonDelta(0.0)(0.01) == pytest.approx(0.01)
    assert EpsilonDelta(0.0, 1e-3).max_advantage == pytest.approx(1e-3)
    assert EpsilonDelta(1000.0).max_advantage == EpsilonDelta(1000.0)(0.5) == 1.0
    for epsilon in (0.3, 1.0, 4.0):
        # the advantage is the largest gap between the two lines and the diagonal
        allowed = EpsilonDelta(epsilon, 1e-3)
        gaps = [allowed(float(rate)) - rate for rate in np.linspace(0, 1, 20_001)]
        assert max(gaps) == pytest.approx(allowed.max_advantage, abs=1e-4)
        assert EpsilonDelta(epsilon)(0.01) <= math.exp(epsilon) * 0.01


def test_no_bound_on_members_contradicts_a_claim_however_well_they_are_told():
    """Who is a member was no coin: scores may tell another label, or where an example comes from."""
    sure = MembershipScores.from_scores([1.0] * 2000, [0.0] * 2000)
    quantity = Quantity(Metric.MEMBERSHIP_TPR, "model", "data", fpr=0.01)
    for levels in (tpr_levels(sure, 0.01), advantage_levels(sure)):
        lower = Bound(quantity, Side.LOWER, levels.at(0.95, 0.0), Basis.STATISTICAL, levels)
        upper = Bound(quantity, Side.UPPER, EpsilonDelta(0.1, 1e-9)(0.01), Basis.PROOF)
        assert Bracket(lower, upper).consistency == "SUSPECT"


@pytest.mark.parametrize(("members", "others"), [([], [0.0]), ([0.0], []), ([math.nan], [0.0])])
def test_no_scores_and_nan_are_refused(members, others):
    with pytest.raises(SettingError, match="expected at least one, and numbers"):
        MembershipScores.from_scores(members, others)
