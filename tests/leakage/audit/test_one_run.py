import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from quintain.core.errors import DataError, SettingError
from quintain.leakage import audit_one_run, max_auditable_epsilon
from quintain.leakage.audit.one_run import (
    count_correct_guesses,
    epsilon_lower_bound,
    numbers_of_guesses,
    p_value,
)
from quintain.results import Basis, Quantity, Side
from quintain.results.quantity import Metric


def reference(canaries, guesses, correct, odds, delta):
    """The theorem in exact fractions, with e^epsilon = ``odds``."""
    truth = odds / (1 + odds)
    law = [math.comb(guesses, k) * truth**k * (1 - truth) ** (guesses - k) for k in range(guesses + 1)]
    tail = [sum(law[k:], Fraction(0)) for k in range(guesses + 1)]
    slope = max(((tail[correct - i] - tail[correct]) / i for i in range(1, correct + 1)), default=Fraction(0))
    return min(Fraction(1), tail[correct] + 2 * canaries * delta * slope)


def joined(inside, outside, seed=0):
    """Scores and coins of both groups, in an order that has nothing to do with them."""
    order = np.random.default_rng(seed).permutation(len(inside) + len(outside))
    return np.concatenate([inside, outside])[order], (np.arange(len(order)) < len(inside))[order]


def largest_chance(guesses, correct, epsilon, delta):
    """The largest probability of so many right guesses of as many coins, over all private mechanisms: a
    linear program.

    Flipping all coins of some canaries with their guesses, or permuting canaries, leaves the problem as it
    is, so that a mechanism that treats all alike is among the best: it is given by P(k right), k = 0 .. m.
    Two neighbors differ in guesses that are right at one coin.
    """
    m, odds = guesses, math.exp(epsilon)
    right, wrong = np.zeros((m, m + 1)), np.zeros((m, m + 1))
    right[np.arange(m), np.arange(1, m + 1)] = (
        np.arange(1, m + 1) / m
    )  # with this coin guessed right, and k of the others
    wrong[np.arange(m), np.arange(m)] = 1 - np.arange(m) / m
    beyond = np.eye(m)
    limits = np.block(
        [
            [right - odds * wrong, -beyond, 0 * beyond],
            [wrong - odds * right, 0 * beyond, -beyond],
            [np.zeros((1, m + 1)), np.ones((1, 2 * m))],
        ]
    )
    value = np.concatenate([-(np.arange(m + 1) >= correct).astype(float), np.zeros(2 * m)])
    total = np.concatenate([np.ones(m + 1), np.zeros(2 * m)])[None]
    found = linprog(
        value,
        A_ub=limits,
        b_ub=[0] * (2 * m) + [delta],
        A_eq=total,
        b_eq=[1],
        bounds=(0, None),
        method="highs",
    )
    return -found.fun


@pytest.mark.parametrize("guesses", [1, 2, 3, 7, 16])
@pytest.mark.parametrize("epsilon", [0.0, 1.0, 3.0])
@pytest.mark.parametrize(("delta", "of"), [(1e-5, 1), (0.01, 1), (0.003, 8)])
def test_up_to_one_half_the_chance_is_a_bound_for_every_private_mechanism(guesses, epsilon, delta, of):
    allowed = [p_value(of * guesses, guesses, v, epsilon, delta) for v in range(guesses + 1)]
    small = [v for v in range(1, guesses + 1) if allowed[v] <= 0.5]
    assert small or guesses == 1 or epsilon
    for v in small:
        assert largest_chance(guesses, v, epsilon, of * delta) <= allowed[v] + 1e-9


def test_near_one_the_chance_is_no_bound_and_is_not_used_there():
    assert largest_chance(3, 1, 0.0, 0.01) == pytest.approx(0.88375)
    assert p_value(3, 3, 1, 0.0, 0.01) == pytest.approx(0.8825)
    with pytest.raises(SettingError, match=r"error of 0\.6.*confidence of at least"):
        epsilon_lower_bound(3, 3, 1, 0.01, 0.6)
    with pytest.raises(SettingError, match="confidence of at least"):
        audit_one_run([1.0, 0.0], [True, False], confidence=0.1)


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


@given(
    odds=st.fractions(1, 50),
    delta=st.fractions(0, Fraction(1, 10)),
    sizes=st.lists(st.integers(0, 12), min_size=3, max_size=3),
)
def test_the_formula_in_exact_fractions(odds, delta, sizes):
    correct, guesses, canaries = sorted(sizes)
    if guesses == 0:
        return
    exact = reference(canaries, guesses, correct, odds, delta)
    assert p_value(canaries, guesses, correct, math.log(odds), float(delta)) == pytest.approx(
        float(exact), rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize(
    ("canaries", "delta", "expected"),
    [
        *(
            (50, 1e-5, 2.78),
            (100, 1e-5, 3.49),
            (200, 1e-5, 4.19),
            (500, 1e-5, 5.10),
            (1000, 1e-5, 5.78),
            (5000, 1e-5, 7.28),
        ),
        *((200, 1e-3, 3.57), (500, 1e-3, 3.57), (1000, 1e-3, 3.49), (10_000, 1e-3, 3.31)),
    ],
)
def test_all_guesses_right(canaries, delta, expected):
    assert epsilon_lower_bound(canaries, canaries, canaries, delta, 0.05) == pytest.approx(
        expected, abs=0.006
    )


@pytest.mark.parametrize("canaries", [2, 30, 100, 1000])
def test_all_guesses_right_without_delta_has_a_closed_form(canaries):
    assert epsilon_lower_bound(canaries, canaries, canaries, 0.0, 0.05) == pytest.approx(
        max(0.0, -math.log(0.05 ** (-1 / canaries) - 1))
    )


@settings(max_examples=40)
@given(
    canaries=st.integers(2, 300),
    share=st.floats(0, 1),
    right=st.floats(0.5, 1),
    delta=st.sampled_from([0.0, 1e-6, 1e-4, 1e-2]),
    error=st.floats(1e-8, 0.2),
)
def test_more_right_guesses_never_show_less_and_more_caution_never_more(canaries, share, right, delta, error):
    guesses = max(1, round(share * canaries))
    correct = min(guesses - 1, round(right * guesses))
    shown = epsilon_lower_bound(canaries, guesses, correct, delta, error)
    assert epsilon_lower_bound(canaries, guesses, correct + 1, delta, error) >= shown
    assert epsilon_lower_bound(canaries, guesses, correct, 2 * delta + 1e-7, error) <= shown
    assert epsilon_lower_bound(canaries, guesses, correct, delta, error / 2) <= shown


@pytest.mark.parametrize("delta", [0.0, 1e-5, 1e-3])
def test_the_chance_rises_with_epsilon_so_that_there_is_one_root(delta):
    for canaries, guesses in ((20, 20), (500, 500), (500, 62), (3000, 750)):
        for correct in range(guesses // 2, guesses + 1, max(1, guesses // 40)):
            allowed = [
                p_value(canaries, guesses, correct, epsilon, delta) for epsilon in np.linspace(0, 12, 60)
            ]
            small = [value for value in allowed if value < 0.3]
            assert small == sorted(small)
            assert allowed[: len(small)] == small


def test_the_best_split_is_read_at_the_ceiling():
    coins = np.random.default_rng(3).random(500) < 0.5
    audit = audit_one_run(np.where(coins, 7.0, -1.0), coins)
    assert (
        audit.epsilon
        == audit.max_auditable_epsilon
        == max_auditable_epsilon(500)
        == pytest.approx(4.887, abs=1e-3)
    )
    assert (audit.canaries, audit.guesses, audit.correct) == (500, 500, 500)
    assert audit.max_auditable_epsilon == epsilon_lower_bound(500, 500, 500, 1e-5, 0.025)


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
    assert p_value(500, 500, 500, 0.0, 1e-5) > 3e-5


def test_scale_shift_and_order_of_the_scores_change_nothing():
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(1, 1, 260), rng.normal(0, 1, 240)
    scores, coins = joined(inside, outside)
    shown, order = audit_one_run(scores, coins).epsilon, rng.permutation(500)
    assert audit_one_run(scores[order] * 1e-200, coins[order]).epsilon == shown
    assert audit_one_run(scores * 1e200, coins).epsilon == shown


@given(st.integers(2, 3000))
def test_numbers_of_guesses_are_fixed_by_the_number_of_canaries(canaries):
    counts = numbers_of_guesses(canaries)
    assert counts[0] == canaries
    assert list(counts) == sorted(set(counts), reverse=True)
    assert all(r % 2 == 0 and r > 0 for r in counts[1:])


def test_guesses_do_not_depend_on_membership():
    rng = np.random.default_rng(0)
    scores, coins = rng.normal(size=300).round(), rng.random(300) < 0.5
    there, back = (dict(count_correct_guesses(scores, c, seed=5)) for c in (coins, ~coins))
    assert all(there[r] + back[r] == r for r in numbers_of_guesses(300))


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
    with pytest.raises(SettingError, match="7 correct of 5 guesses"):
        epsilon_lower_bound(10, 5, 7, 0.0, 0.05)
