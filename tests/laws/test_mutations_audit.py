"""Planted faults in the audit, each with the check that catches it; the same check passes on the code as it
is.
"""

import numpy as np
import pytest

from quintain.leakage import audit_gaussian_curve, audit_gaussian_pair, audit_many_runs
from quintain.leakage.audit import gaussian_pair, guesses, many_runs, one_run, trade_off, worst_case
from quintain.testing import (
    NULL_SCORES,
    all_or_nothing,
    check_audit_level,
    check_audit_power,
    check_guess_p_value,
    gaussian_scores,
    randomized_response,
)


def forget():
    one_run._largest_refuted_epsilon.cache_clear()
    worst_case.epsilon_lower_bound.cache_clear()


@pytest.fixture(autouse=True)
def _fresh():
    forget()
    yield
    forget()


def caught(check):
    """The check passed before the patch (see test_audit); it must fail now."""
    forget()
    with pytest.raises(AssertionError):
        check()


def test_nothing_paid_for_looking_at_many_numbers_of_guesses(monkeypatch):
    monkeypatch.setattr(
        one_run,
        "joint_p_value",
        lambda m, sizes, thresholds, epsilon, delta: max(
            worst_case.p_value(m, r, v, epsilon, delta)
            for r, v in zip(sizes, thresholds, strict=True)
            if v <= r
        ),
    )
    caught(lambda: check_audit_level(NULL_SCORES["normal"], 0.0))


def test_no_delta_term(monkeypatch):
    joint, single = worst_case.joint_p_value, worst_case.p_value
    monkeypatch.setattr(one_run, "joint_p_value", lambda m, r, v, epsilon, delta: joint(m, r, v, epsilon, 0))
    monkeypatch.setattr(worst_case, "p_value", lambda m, r, v, epsilon, delta: single(m, r, v, epsilon, 0.0))
    caught(lambda: check_audit_level(all_or_nothing(0.2), 0.0, delta=0.2))
    caught(lambda: check_guess_p_value(0.5, 0.1, 5))


def test_half_of_the_delta_term(monkeypatch):
    single = worst_case.p_value
    monkeypatch.setattr(
        worst_case, "p_value", lambda m, r, v, epsilon, delta: single(m, r, v, epsilon, delta / 2)
    )
    caught(lambda: check_guess_p_value(0.5, 0.1, 2))


def test_arms_swapped(monkeypatch):
    original = guesses.correct_guesses
    monkeypatch.setattr(
        one_run, "correct_guesses", lambda scores, included, seed: original(scores, ~included, seed=seed)
    )
    caught(lambda: check_audit_power(gaussian_scores(1.666), 2.0))


def test_ties_broken_by_the_order_of_an_array_that_was_put_together_by_membership(monkeypatch):
    original = guesses.correct_guesses

    def members_last(scores, included, seed):
        order = np.argsort(included, kind="stable")
        return original(scores[order], included[order], seed=seed)

    monkeypatch.setattr(one_run, "correct_guesses", members_last)
    monkeypatch.setattr(guesses, "_tie_breakers", lambda canaries, seed: np.arange(canaries))
    caught(lambda: check_audit_level(NULL_SCORES["all equal"], 0.0))
    caught(lambda: check_audit_level(NULL_SCORES["three levels"], 0.0))


def test_an_odds_ratio_that_is_too_small(monkeypatch):
    joint, single = worst_case.joint_p_value, worst_case.p_value
    monkeypatch.setattr(
        one_run, "joint_p_value", lambda m, r, v, epsilon, delta: joint(m, r, v, 0.8 * epsilon, delta)
    )
    monkeypatch.setattr(
        worst_case, "p_value", lambda m, r, v, epsilon, delta: single(m, r, v, 0.8 * epsilon, delta)
    )
    caught(lambda: check_audit_level(randomized_response(4.0), 4.0))
    caught(lambda: check_guess_p_value(2.0, 0.0, 5))


def test_many_runs_without_a_share_of_the_error_for_each_rank(monkeypatch):
    monkeypatch.setattr(many_runs, "_error_per_test", lambda error, tests: error)
    caught(lambda: check_audit_level(NULL_SCORES["normal"], 0.0, audit=audit_many_runs, runs=200))


def test_many_runs_without_the_delta_term(monkeypatch):
    original = many_runs._p_value_at
    monkeypatch.setattr(many_runs, "_p_value_at", lambda test, delta, epsilon: original(test, 0.0, epsilon))

    def each_shown_alone(rng, coins):
        shown = rng.random(len(coins)) < 0.3
        return np.where(shown, 10.0 * coins - 5.0, rng.standard_normal(len(coins)))

    caught(
        lambda: check_audit_level(
            each_shown_alone, 0.0, audit=audit_many_runs, canaries=400, delta=0.3, runs=50
        )
    )


@pytest.mark.parametrize(
    ("module", "audit"), [(many_runs, audit_many_runs), (gaussian_pair, audit_gaussian_pair)]
)
def test_arms_of_runs_swapped(monkeypatch, module, audit):
    original = module.check_runs

    def swapped(scores, included):
        values, arms = original(scores, included)
        return values, ~arms

    monkeypatch.setattr(module, "check_runs", swapped)
    caught(lambda: check_audit_power(gaussian_scores(2.6), 0.5, audit=audit, runs=5))


def test_a_distance_of_means_without_its_sign(monkeypatch):
    original = gaussian_pair._distance
    monkeypatch.setattr(
        gaussian_pair, "_distance", lambda scores, arms: max(original(scores, arms), original(-scores, arms))
    )
    caught(lambda: check_audit_level(NULL_SCORES["normal"], 0.0, audit=audit_gaussian_pair))


def test_a_curve_that_is_tested_at_the_best_number_of_guesses(monkeypatch):
    original = trade_off.refutes

    def shopped(least, canaries, guesses, correct, error):
        return any(
            original(least, canaries, r, min(r, correct * r // guesses + round(r**0.5)), error)
            for r in range(4, guesses + 1, 8)
        )

    monkeypatch.setattr(trade_off, "refutes", shopped)
    caught(lambda: check_audit_level(NULL_SCORES["normal"], 0.0, audit=audit_gaussian_curve, runs=100))
