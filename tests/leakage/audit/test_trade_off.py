"""Audits of a trade-off curve that is given: against linear programs, closed forms and mechanisms."""

import math

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.stats import norm

from quintain.core.errors import DataError, SettingError
from quintain.leakage import ProfileFamily, audit_gaussian_curve, audit_one_run, audit_plan_curve
from quintain.leakage.audit.gaussian_audit import gaussian_delta
from quintain.leakage.audit.profiles import gaussian_family, last_refuted
from quintain.leakage.audit.trade_off import refutes
from quintain.leakage.audit.worst_case import p_value


def family(pairs):
    """One profile, known at some epsilons."""
    epsilons, deltas = (np.array(column, float) for column in zip(*pairs, strict=True))
    return ProfileFamily(np.array([1.0]), epsilons, deltas[None])


def largest_chance(canaries, guesses, correct, pairs):
    """The largest P[at least so many of r guesses right] over exchangeable mechanisms that keep to a profile.

    Given by P(k right): a canary's guess is right with k in all with probability k P_k / m, and wrong with k
    with probability (r - k) P_k / m; two neighbors differ in one guess.
    """
    m, r, size = canaries, guesses, guesses + 1
    rows, limits = [], []
    for place, (epsilon, delta) in enumerate(pairs):
        total = np.zeros(size + 2 * r * len(pairs))
        for k in range(1, r + 1):
            for turn in (0, 1):
                row, beyond = np.zeros_like(total), size + 2 * r * place + 2 * (k - 1) + turn
                right, wrong = k / m, (r - k + 1) / m
                row[k], row[k - 1] = (
                    (right, -math.exp(epsilon) * wrong) if turn else (-math.exp(epsilon) * right, wrong)
                )
                row[beyond], total[beyond] = -1, 1
                rows.append(row)
                limits.append(0.0)
        rows.append(total)
        limits.append(delta)
    objective = np.zeros(len(rows[0]))
    objective[correct:size] = -1
    found = linprog(
        objective,
        A_ub=np.array(rows),
        b_ub=limits,
        A_eq=np.where(np.arange(len(objective)) < size, 1.0, 0.0)[None],
        b_eq=[1],
        bounds=(0, None),
        method="highs",
    )
    return -found.fun


def largest_not_refuted(least, canaries, guesses, correct):
    """The largest error probability at which so many right guesses refute nothing."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if refutes(least, canaries, guesses, correct, middle):
            high = middle
        else:
            low = middle
    return low


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("delta", [0.0, 1e-3, 0.05])
def test_of_one_epsilon_and_delta_it_is_near_the_exact_worst_case_and_never_below(epsilon, delta):
    profile = family([(epsilon, delta)])
    for canaries, guesses in ((4, 4), (12, 5), (40, 20)):
        for correct in range(1, guesses + 1):
            exact = p_value(canaries, guesses, correct, epsilon, delta)
            ours = largest_not_refuted(lambda p: profile.least(0, p), canaries, guesses, correct)
            assert ours >= exact - 1e-6
            assert ours <= 1.3 * exact or exact > 0.3
            assert ours == pytest.approx(exact, abs=1e-6) or correct < guesses


@pytest.mark.parametrize(("canaries", "guesses"), [(3, 3), (8, 5), (10, 10)])
@pytest.mark.parametrize("mu", [0.5, 1.5])
def test_it_never_refutes_what_a_mechanism_of_that_profile_can_do(canaries, guesses, mu):
    pairs = [(e, gaussian_delta(mu, e)) for e in (0.0, 0.3, 0.7, 1.2, 2.0, 3.0)]
    profile = family(pairs)
    for correct in range(1, guesses + 1):
        largest = largest_chance(canaries, guesses, correct, pairs)
        ours = largest_not_refuted(lambda p: profile.least(0, p), canaries, guesses, correct)
        assert ours >= largest - 1e-6
        assert ours <= 1.3 * largest or largest > 0.3


def test_the_smallest_probability_of_a_gaussian_is_that_of_its_trade_off_curve():
    gaussians = gaussian_family(1e-5)
    place = int(np.searchsorted(gaussians.values, 7.9))
    mu = 1.65
    while gaussian_delta(mu, float(gaussians.values[place])) < 1e-5:
        mu += 1e-4
    for p in (0.001, 0.05, 0.3, 0.7, 0.95, 0.999):
        exact = norm.cdf(norm.ppf(p) - mu)
        assert gaussians.least(place, p) <= exact + 1e-4
        assert gaussians.least(place, p) == pytest.approx(exact, rel=0.03)
    assert gaussians.least(place, 0.0) == 0.0


def test_a_profile_with_larger_deltas_or_fewer_epsilons_refutes_less():
    exact = family([(e, gaussian_delta(1.0, e)) for e in np.linspace(0, 4, 21)])
    coarse = family([(e, gaussian_delta(1.0, e)) for e in (0.0, 2.0)])
    raised = family([(e, min(1.0, 2 * gaussian_delta(1.0, e))) for e in np.linspace(0, 4, 21)])
    for p in np.linspace(0.01, 0.99, 20):
        assert exact.least(0, p) >= max(coarse.least(0, p), raised.least(0, p))


def test_all_that_a_smaller_value_allows_is_allowed_by_a_larger_one():
    made = ProfileFamily(np.array([1.0, 2.0]), np.array([0.0, 1.0]), np.array([[0.4, 0.2], [0.3, 0.25]]))
    assert made.deltas.tolist() == [[0.4, 0.2], [0.4, 0.25]]
    assert last_refuted(made, lambda place: place == 0) == 0
    assert last_refuted(made, lambda place: True) == 1
    assert last_refuted(made, lambda place: False) == -1
    assert [made.value(place) for place in (-1, 0, 1)] == [0.0, 1.0, 2.0]


def test_it_shows_more_than_epsilon_and_delta_alone_and_less_than_the_truth():
    shown, alone = [], []
    for run in range(20):
        rng = np.random.default_rng(run)
        coins = rng.random(500) < 0.5
        scores = 1.666 * coins + rng.standard_normal(500)
        shown.append(audit_gaussian_curve(scores, coins, seed=run).epsilon)
        alone.append(audit_one_run(scores, coins, seed=run).epsilon)
    assert np.mean(alone) + 1 < np.mean(shown) < 8


def test_scores_that_depend_on_each_other_are_no_problem_to_a_curve():
    # All coins are told with a probability that is common to all and that a 1-GDP mechanism has.
    above = 0
    truth = float(gaussian_family(1e-5).values[-1])
    for run in range(60):
        rng = np.random.default_rng([run, 7])
        coins = rng.random(200) < 0.5
        known = 1 / (1 + math.exp(-abs(rng.normal(0.5, 1))))
        told = coins == (rng.random(200) < known)
        above += audit_gaussian_curve(told.astype(float), coins, seed=run).epsilon > 4.38
    assert truth > 10
    assert above <= 9


def test_a_plan_is_tested_by_the_profiles_that_are_given():
    rng = np.random.default_rng(0)
    coins = rng.random(400) < 0.5
    scores = 3 * coins + rng.standard_normal(400)
    claimed = ProfileFamily(
        np.array([1.0, 3.0, 3.1]),
        np.linspace(0, 6, 30),
        np.array([[gaussian_delta(mu, e) for e in np.linspace(0, 6, 30)] for mu in (0.26, 0.72, 0.74)]),
    )
    found = audit_plan_curve(scores, coins, profiles=claimed)
    assert found.epsilon == found.max_auditable_epsilon == 3.1
    assert found.guesses == 100
    assert "plan" in found.bound.method
    assert any("above the claim" in text for text in found.bound.assumptions)
    assert audit_plan_curve(rng.standard_normal(400), coins, profiles=claimed).epsilon == 0


def test_what_is_out_of_range_is_refused():
    with pytest.raises(SettingError, match="rising values"):
        ProfileFamily(np.array([2.0, 1.0]), np.array([0.0]), np.zeros((2, 1)))
    with pytest.raises(SettingError, match="out of range"):
        ProfileFamily(np.array([1.0]), np.array([0.0]), np.array([[1.5]]))
    with pytest.raises(SettingError, match="delta = 0"):
        audit_gaussian_curve([0.0, 1.0], [False, True], delta=0.0)
    with pytest.raises(DataError, match="NaN"):
        audit_gaussian_curve([0.0, math.nan], [False, True])
