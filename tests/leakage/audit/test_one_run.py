import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from quintain.core.errors import DataError, SettingError
from quintain.leakage import audit_one_run, max_auditable_epsilon
from quintain.leakage.audit.guesses import correct_guesses, numbers_of_guesses
from quintain.leakage.audit.worst_case import epsilon_lower_bound
from quintain.results import Basis, Quantity, Side
from quintain.results.quantity import Metric


def joined(inside, outside, seed=0):
    """Scores and coins of both groups, in an order that has nothing to do with them."""
    order = np.random.default_rng(seed).permutation(len(inside) + len(outside))
    return np.concatenate([inside, outside])[order], (np.arange(len(order)) < len(inside))[order]


@pytest.mark.parametrize("seed", [0, 37])
def test_constant_scores_show_nothing_whatever_the_seed_of_the_ties(seed):
    """With the members first, seed 37 happened to sort them to one side, in almost every run."""
    shown = []
    for run in range(200):
        coins = np.random.default_rng(run).random(500) < 0.5
        shown.append(audit_one_run(np.zeros(500), coins, seed=seed).epsilon > 0)
    assert sum(shown) <= 10


def test_scores_put_together_by_membership_are_refused_where_they_tie():
    coins = np.arange(100) < 50
    with pytest.raises(DataError, match="the order in which the canaries were made"):
        audit_one_run(np.zeros(100), coins)
    with pytest.raises(DataError, match="the order in which the canaries were made"):
        audit_one_run(np.zeros(100), ~coins)
    assert audit_one_run(np.arange(100.0), coins).epsilon == 0


def test_the_best_split_is_read_at_the_ceiling():
    coins = np.random.default_rng(3).random(500) < 0.5
    audit = audit_one_run(np.where(coins, 7.0, -1.0), coins)
    assert (
        audit.epsilon
        == audit.max_auditable_epsilon
        == max_auditable_epsilon(500)
        == pytest.approx(5.114, abs=1e-3)
    )
    assert (audit.canaries, audit.guesses, audit.correct) == (500, 500, 500)
    assert audit.max_auditable_epsilon == pytest.approx(
        epsilon_lower_bound(500, 500, 500, 1e-5, 0.05), abs=1e-6
    )


@pytest.mark.parametrize(("canaries", "least"), [(100, 1.3), (500, 2.3), (1000, 2.6)])
def test_what_it_shows_of_an_ideal_gaussian_of_epsilon_8(canaries, least):
    shown = []
    for run in range(40):
        rng = np.random.default_rng([run, canaries])
        coins = rng.random(canaries) < 0.5
        shown.append(audit_one_run(1.666 * coins + rng.standard_normal(canaries), coins, seed=run).epsilon)
    assert least < np.mean(shown) < 8


@pytest.mark.parametrize("delta", [1e-5, 1e-2])
def test_more_right_guesses_never_show_less(delta):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=200)
    order, shown = np.argsort(scores), []
    for wrong in (60, 40, 20, 5, 0):
        told = np.zeros(200, bool)
        told[order[100:]] = True
        flipped = rng.choice(200, wrong, replace=False)
        told[flipped] = ~told[flipped]
        shown.append(audit_one_run(scores, told, delta=delta).epsilon)
    assert shown == sorted(shown)
    assert shown[-1] > 1.5


def test_more_caution_never_shows_more():
    rng = np.random.default_rng(1)
    coins = rng.random(300) < 0.5
    scores = 2 * coins + rng.standard_normal(300)
    by_delta = [audit_one_run(scores, coins, delta=delta).epsilon for delta in (0.0, 1e-5, 1e-3, 1e-2, 0.1)]
    by_confidence = [
        audit_one_run(scores, coins, confidence=level).epsilon for level in (0.5, 0.9, 0.99, 0.9999)
    ]
    assert by_delta == sorted(by_delta, reverse=True)
    assert by_confidence == sorted(by_confidence, reverse=True)
    assert by_delta[2] > 0
    assert by_confidence[-1] > 0


def test_swapped_arms_show_nothing():
    assert audit_one_run(*joined(np.zeros(240), np.ones(260))).epsilon == 0


def test_the_bound_says_what_it_is():
    of = Quantity(
        Metric.EPSILON, delta=1e-9, adjacency="add/remove", privacy_unit="image", released="all iterates"
    )
    rng = np.random.default_rng(0)
    audit = audit_one_run(
        *joined(rng.normal(2, 1, 260), rng.normal(0, 1, 240)), delta=1e-9, confidence=0.99, quantity=of
    )
    bound = audit.bound
    assert (bound.quantity, bound.side, bound.basis) == (of, Side.LOWER, Basis.STATISTICAL)
    assert (
        bound.value
        == bound.at_confidence(0.99)
        == bound.at_confidence(0.95)
        > bound.at_confidence(0.999)
        > bound.at_confidence(1 - 1e-6)
        > 0
    )
    assert bound.at_confidence(1 - 1e-12) == 0
    assert any("coins" in text for text in bound.assumptions)


def test_the_bound_at_a_higher_confidence_is_that_of_an_audit_at_it():
    rng = np.random.default_rng(0)
    scores, coins = joined(rng.normal(2, 1, 260), rng.normal(0, 1, 240))
    assert (
        audit_one_run(scores, coins).bound.at_confidence(0.999)
        == audit_one_run(scores, coins, confidence=0.999).epsilon
    )


def test_nothing_is_shown_beyond_what_delta_allows():
    audit = audit_one_run(*joined(np.ones(250), np.zeros(250)), delta=1e-5)
    assert audit.bound.at_confidence(0.999) > 3
    assert audit.bound.at_confidence(1 - 1e-6) == 0


def test_scale_shift_and_order_of_the_scores_change_nothing():
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(1, 1, 260), rng.normal(0, 1, 240)
    scores, coins = joined(inside, outside)
    shown, order = audit_one_run(scores, coins).epsilon, rng.permutation(500)
    assert audit_one_run(scores[order] * 1e-200, coins[order]).epsilon == shown
    assert audit_one_run(scores * 1e200, coins).epsilon == shown


@given(st.integers(2, 3000))
def test_numbers_of_guesses_are_fixed_by_the_number_of_canaries(canaries):
    sizes = numbers_of_guesses(canaries)
    assert list(sizes) == sorted(set(sizes))
    assert sizes[-1] == canaries
    assert sizes[0] >= min(4, canaries)
    assert len(sizes) <= 2 + 4 * max(0.0, math.log2(canaries / 3.5))


def test_guesses_do_not_depend_on_membership():
    rng = np.random.default_rng(0)
    scores, coins = rng.normal(size=300).round(), rng.random(300) < 0.5
    assert (correct_guesses(scores, coins, seed=5) != correct_guesses(scores, ~coins, seed=5)).all()


def test_the_surest_guesses_are_those_farthest_from_the_cut():
    scores = np.concatenate([norm.ppf((np.arange(50) + 0.5) / 50), 9 + norm.ppf((np.arange(50) + 0.5) / 50)])
    coins = np.zeros(100, bool)
    coins[[99, 0]] = True  # the largest and the smallest score alone
    right = correct_guesses(scores, coins, seed=0)
    assert set(right[:2]) == {True, False}
    assert right[2:50].sum() == 24  # in turn above and below the cut, of which those below are right


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_no_numbers_are_refused(bad):
    with pytest.raises(DataError, match="1 NaN or infinite"):
        audit_one_run([1.0, bad, 0.0, 0.0], [True, True, False, False])


def test_coins_that_are_none_are_refused():
    with pytest.raises(DataError, match="1 canaries included and 0 excluded"):
        audit_one_run([1.0], [True])
    with pytest.raises(DataError, match="one boolean for each score"):
        audit_one_run([1.0, 0.0], [1, 0])
    with pytest.raises(DataError, match="3 scores and 2 coins"):
        audit_one_run([1.0, 0.0, 0.0], [True, False])


def test_sizes_that_fair_coins_do_not_give_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="500 canaries included and 50 excluded"):
        audit_one_run(rng.normal(size=550), np.arange(550) < 500)


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingError, match="confidence"):
        audit_one_run([1.0, 0.0], [True, False], confidence=95)
    with pytest.raises(SettingError, match="delta = 2"):
        audit_one_run([1.0, 0.0], [True, False], delta=2)
    with pytest.raises(SettingError, match="give the same one"):
        audit_one_run([1.0, 0.0], [True, False], quantity=Quantity(Metric.EPSILON, delta=1e-6))
