"""The largest probability of right guesses, against linear programs over all mechanisms."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.sparse import coo_array

from quintain.core.errors import SettingError
from quintain.leakage.audit.worst_case import epsilon_lower_bound, joint_p_value, largest_refuted, p_value


def program(objective, conditions, totals):
    """Maximize over x >= 0; each condition bounds the sum of parts (x_a - odds x_b)+ by a budget."""
    rows, columns, values, limits, size = [], [], [], [], len(objective)
    for budget, parts in conditions:
        beyond = []
        for one, odds, other in parts:
            rows += [len(limits)] * 3
            columns += [one, other, size]
            values += [1.0, -odds, -1.0]
            beyond.append(size)
            size += 1
            limits.append(0.0)
        rows += [len(limits)] * len(beyond)
        columns += beyond
        values += [1.0] * len(beyond)
        limits.append(budget)
    groups = max(totals) + 1
    found = linprog(
        -np.concatenate([objective, np.zeros(size - len(objective))]),
        A_ub=coo_array((values, (rows, columns)), shape=(len(limits), size)),
        b_ub=limits,
        A_eq=coo_array((np.ones(len(totals)), (totals, np.arange(len(totals)))), shape=(groups, size)),
        b_eq=np.ones(groups),
        bounds=(0, None),
        method="highs",
    )
    return -found.fun


def over_all_mechanisms(canaries, guesses, correct, epsilon, delta):
    """The largest P[at least so many right], over every private mechanism and every guesser."""
    odds, coins = math.exp(epsilon), list(product((-1, 1), repeat=canaries))
    told = [t for t in product((-1, 0, 1), repeat=canaries) if sum(map(abs, t)) == guesses]
    at = {pair: place for place, pair in enumerate(product(coins, told))}
    right = [sum(a == b for a, b in zip(*pair, strict=True)) >= correct for pair in at]
    conditions = []
    for s in coins:
        for i in range(canaries):
            turned = (*s[:i], -s[i], *s[i + 1 :])
            conditions.append((delta, [(at[s, t], odds, at[turned, t]) for t in told]))
    return program(np.array(right) / len(coins), conditions, [coins.index(s) for s, _ in at])


def over_exchangeable_mechanisms(guesses, correct, epsilon, delta):
    """The same over mechanisms that treat all canaries alike, given by P(k right); all are guessed.

    Turning all coins of some canaries with their guesses, or permuting canaries, leaves the problem as it is,
    so that one of them is among the best. Two neighbors differ in guesses that are right at one coin.
    """
    m, odds, k = guesses, math.exp(epsilon), np.arange(guesses)
    right, wrong = np.zeros((m, m + 1)), np.zeros((m, m + 1))
    right[k, k + 1], wrong[k, k] = (k + 1) / m, 1 - k / m
    beyond = np.eye(m)
    found = linprog(
        np.concatenate([-(np.arange(m + 1) >= correct).astype(float), np.zeros(2 * m)]),
        A_ub=np.block(
            [
                [right - odds * wrong, -beyond, 0 * beyond],
                [wrong - odds * right, 0 * beyond, -beyond],
                [np.zeros((1, m + 1)), np.ones((1, 2 * m))],
            ]
        ),
        b_ub=[0] * (2 * m) + [delta],
        A_eq=np.concatenate([np.ones(m + 1), np.zeros(2 * m)])[None],
        b_eq=[1],
        bounds=(0, None),
        method="highs",
    )
    return -found.fun


def over_laws_of_right_guesses(canaries, event, epsilon, delta):
    """The largest probability of an event of which guesses are right, in the order of how sure they are."""
    odds, size = math.exp(epsilon), 2**canaries
    pairs = [(x, odds, x ^ 1 << k) for x in range(size) for k in range(canaries)]
    return program(np.array([event(x) for x in range(size)], float), [(canaries * delta, pairs)], [0] * size)


def theorem(canaries, guesses, correct, epsilon, delta):
    """Theorem 5.2 of Steinke et al. (2023)."""
    q = 1 / (1 + math.exp(-epsilon))
    law = [math.comb(guesses, k) * q**k * (1 - q) ** (guesses - k) for k in range(guesses + 1)]
    tail = [math.fsum(law[k:]) for k in range(guesses + 1)]
    slope = max((tail[correct - i] - tail[correct]) / i for i in range(1, correct + 1))
    return min(1.0, tail[correct] + 2 * canaries * delta * slope)


@pytest.mark.parametrize(("canaries", "guesses"), [(1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3), (4, 2)])
@pytest.mark.parametrize("epsilon", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("delta", [0.0, 0.01, 0.3])
def test_it_is_the_largest_over_all_mechanisms_and_guessers(canaries, guesses, epsilon, delta):
    for correct in range(1, guesses + 1):
        largest = over_all_mechanisms(canaries, guesses, correct, epsilon, delta)
        assert p_value(canaries, guesses, correct, epsilon, delta) == pytest.approx(largest, abs=1e-8)


@pytest.mark.parametrize("guesses", [7, 16])
@pytest.mark.parametrize("epsilon", [0.0, 1.0, 3.0])
@pytest.mark.parametrize(("delta", "of"), [(1e-5, 1), (0.01, 1), (0.003, 8)])
def test_it_is_the_largest_for_more_canaries(guesses, epsilon, delta, of):
    for correct in range(1, guesses + 1):
        largest = over_exchangeable_mechanisms(guesses, correct, epsilon, of * delta)
        assert p_value(of * guesses, guesses, correct, epsilon, delta) == pytest.approx(largest, abs=3e-6)


def test_near_one_it_holds_where_the_theorem_falls_short():
    assert p_value(3, 3, 1, 0.0, 0.01) == pytest.approx(0.88375, abs=1e-8)
    assert theorem(3, 3, 1, 0.0, 0.01) == pytest.approx(0.8825)


@given(
    sizes=st.lists(st.integers(1, 60), min_size=3, max_size=3),
    epsilon=st.floats(0, 6),
    delta=st.floats(0, 0.1),
)
def test_the_theorem_is_above_it_up_to_one_half(sizes, epsilon, delta):
    correct, guesses, canaries = sorted(sizes)
    looser = theorem(canaries, guesses, correct, epsilon, delta)
    if looser <= 0.5:
        assert p_value(canaries, guesses, correct, epsilon, delta) <= looser * (1 + 1e-8)


@given(odds=st.fractions(1, 50), sizes=st.lists(st.integers(1, 12), min_size=3, max_size=3))
def test_without_the_chance_of_failure_it_is_the_binomial_in_exact_fractions(odds, sizes):
    correct, guesses, canaries = sorted(sizes)
    q = odds / (1 + odds)
    exact = sum(
        (math.comb(guesses, k) * q**k * (1 - q) ** (guesses - k) for k in range(correct, guesses + 1)),
        Fraction(0),
    )
    assert p_value(canaries, guesses, correct, math.log(odds), 0.0) == pytest.approx(float(exact), rel=2e-9)


@pytest.mark.parametrize("case", range(40))
def test_no_law_reaches_any_of_several_thresholds_more_often(case):
    rng = np.random.default_rng(case)
    m = int(rng.integers(2, 6))
    guesses = sorted(rng.choice(np.arange(1, m + 1), rng.integers(1, m + 1), replace=False).tolist())
    thresholds = [int(rng.integers(1, r + 2)) for r in guesses]
    thresholds[-1] = min(thresholds[-1], guesses[-1])
    epsilon, delta = rng.choice([0.0, 0.5, 2.5]), [0.0, 1e-3, 0.1][case % 3]

    def event(x):
        return any((x & (1 << r) - 1).bit_count() >= v for r, v in zip(guesses, thresholds, strict=True))

    largest = over_laws_of_right_guesses(m, event, epsilon, delta)
    bound = joint_p_value(m, guesses, thresholds, epsilon, delta)
    assert bound >= largest - 1e-9
    if delta == 0:
        assert bound == pytest.approx(largest, abs=1e-8)


def test_of_several_thresholds_one_that_is_never_reached_costs_nothing():
    for delta in (0.0, 1e-3):
        assert joint_p_value(50, (10, 50), (11, 50), 1.0, delta) == pytest.approx(
            p_value(50, 50, 50, 1.0, delta), rel=1e-8
        )
    assert joint_p_value(50, (10,), (0,), 1.0, 0.0) == 1.0


@pytest.mark.parametrize("guesses", [(5,), (5, 10), (5, 10, 20)])
def test_looking_at_more_numbers_of_guesses_costs_what_simulation_says(guesses):
    rng, q, runs = np.random.default_rng(0), 1 / (1 + math.exp(-1.0)), 40_000
    thresholds = [round(r * q + 1.2 * math.sqrt(r * q * (1 - q))) for r in guesses]
    right = np.cumsum(rng.random((runs, 20)) < q, axis=1)
    reached = (right[:, np.array(guesses) - 1] >= thresholds).any(axis=1).mean()
    exact = joint_p_value(20, guesses, thresholds, 1.0, 0.0)
    assert abs(exact - reached) < 5 * math.sqrt(exact * (1 - exact) / runs)


@pytest.mark.parametrize("canaries", [3000, 20_000])
def test_probabilities_too_small_for_numbers_still_bound_what_delta_adds(canaries):
    # 2^-20000 is no double; the sum of what is left out must not decide the term of delta.
    assert 1e-3 < joint_p_value(canaries, (canaries,), (canaries,), 0.0, 1e-3) < 1.01e-3
    assert joint_p_value(canaries, (100, canaries), (100, canaries), 30.0, 0.0) == 1.0


@pytest.mark.parametrize(
    ("canaries", "delta", "expected"),
    [
        *((100, 1e-5, 3.49), (200, 1e-5, 4.19), (500, 1e-5, 5.11), (1000, 1e-5, 5.81), (5000, 1e-5, 7.42)),
        *((200, 1e-3, 4.19), (500, 1e-3, 5.11), (1000, 1e-3, 5.80), (10_000, 1e-3, 8.11)),
    ],
)
def test_all_guesses_right(canaries, delta, expected):
    shown = epsilon_lower_bound(canaries, canaries, canaries, delta, 0.05)
    closed = -math.log(((0.05 - delta) / (1 - delta)) ** (-1 / canaries) - 1)
    assert shown == pytest.approx(closed, abs=1e-5)
    assert shown == pytest.approx(expected, abs=0.006)


@settings(max_examples=40)
@given(
    canaries=st.integers(2, 300),
    share=st.floats(0, 1),
    right=st.floats(0.5, 1),
    delta=st.sampled_from([0.0, 1e-6, 1e-4, 1e-2]),
    error=st.floats(1e-8, 0.9),
)
def test_more_right_guesses_never_show_less_and_more_caution_never_more(canaries, share, right, delta, error):
    guesses = max(1, round(share * canaries))
    correct = min(guesses - 1, round(right * guesses))
    shown = epsilon_lower_bound(canaries, guesses, correct, delta, error)
    assert epsilon_lower_bound(canaries, guesses, correct + 1, delta, error) >= shown - 1e-6
    assert epsilon_lower_bound(canaries, guesses, correct, 2 * delta + 1e-7, error) <= shown + 1e-6
    assert epsilon_lower_bound(canaries, guesses, correct, delta, error / 2) <= shown + 1e-6


@pytest.mark.parametrize("delta", [0.0, 1e-5, 1e-3])
def test_the_probability_rises_with_epsilon_so_that_there_is_one_root(delta):
    for canaries, guesses in ((20, 20), (500, 500), (500, 62), (3000, 750)):
        for correct in range(guesses // 2, guesses + 1, max(1, guesses // 40)):
            allowed = [p_value(canaries, guesses, correct, float(e), delta) for e in np.linspace(0, 12, 60)]
            assert allowed == sorted(allowed)


def test_the_refuted_end_is_returned():
    assert largest_refuted(lambda epsilon: epsilon / 100, 0.05) == pytest.approx(5.0, abs=1e-6)
    assert largest_refuted(lambda epsilon: epsilon / 100, 0.05) <= 5.0
    assert largest_refuted(lambda epsilon: 0.06, 0.05) == 0.0
    assert largest_refuted(lambda epsilon: 0.0, 0.05) >= 64.0
    humped = largest_refuted(lambda epsilon: abs(epsilon - 2) / 10, 0.05, tries=(2.0,))
    assert humped == pytest.approx(2.5, abs=1e-6)


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingError, match="7 correct of 5 guesses"):
        epsilon_lower_bound(10, 5, 7, 0.0, 0.05)
    with pytest.raises(SettingError, match="delta = 1"):
        epsilon_lower_bound(10, 5, 5, 1.0, 0.05)
