"""Planted faults in the audit, each with the check that catches it; the same check passes on the code as it
is.
"""

import numpy as np
import pytest

from quintain.leakage.audit import one_run
from quintain.testing import (
    NULL_SCORES,
    all_or_nothing,
    check_audit_level,
    check_audit_power,
    check_guess_p_value,
    gaussian_scores,
    randomized_response,
)


@pytest.fixture(autouse=True)
def _fresh():
    one_run.epsilon_lower_bound.cache_clear()
    yield
    one_run.epsilon_lower_bound.cache_clear()


def caught(check):
    """The check passed before the patch (see test_audit); it must fail now."""
    one_run.epsilon_lower_bound.cache_clear()
    with pytest.raises(AssertionError):
        check()


def test_no_share_of_the_error_for_each_number_of_guesses(monkeypatch):
    monkeypatch.setattr(one_run, "_error_split", lambda tests: (1.0,) * tests)
    caught(lambda: check_audit_level(NULL_SCORES["normal"], 0.0))


def test_no_delta_term(monkeypatch):
    original = one_run.p_value
    monkeypatch.setattr(one_run, "p_value", lambda m, r, v, epsilon, delta: original(m, r, v, epsilon, 0.0))
    caught(lambda: check_audit_level(all_or_nothing(0.2), 0.0, delta=0.2))
    caught(lambda: check_guess_p_value(0.5, 0.1, 5))


def test_a_quarter_of_the_delta_term(monkeypatch):
    original = one_run.p_value
    monkeypatch.setattr(
        one_run, "p_value", lambda m, r, v, epsilon, delta: original(m, r, v, epsilon, delta / 4)
    )
    caught(lambda: check_guess_p_value(0.5, 0.1, 2))


def test_arms_swapped(monkeypatch):
    original = one_run.count_correct_guesses
    monkeypatch.setattr(
        one_run,
        "count_correct_guesses",
        lambda scores, included, seed: original(scores, ~included, seed=seed),
    )
    caught(lambda: check_audit_power(gaussian_scores(1.666), 2.0))


def test_ties_broken_by_the_order_of_an_array_that_was_put_together_by_membership(monkeypatch):
    original = one_run.count_correct_guesses

    def members_last(scores, included, seed):
        order = np.argsort(included, kind="stable")
        return original(scores[order], included[order], seed=seed)

    monkeypatch.setattr(one_run, "count_correct_guesses", members_last)
    monkeypatch.setattr(one_run, "_tie_breakers", lambda canaries, seed: np.arange(canaries))
    caught(lambda: check_audit_level(NULL_SCORES["all equal"], 0.0))
    caught(lambda: check_audit_level(NULL_SCORES["three levels"], 0.0))


def test_many_numbers_of_guesses_at_half_of_the_error_each(monkeypatch):
    monkeypatch.setattr(one_run, "GUESS_DIVISORS", tuple(range(2, 60)))
    monkeypatch.setattr(one_run, "_error_split", lambda tests: (0.5,) * tests)
    caught(lambda: check_audit_level(NULL_SCORES["normal"], 0.0))


def test_an_odds_ratio_that_is_too_small(monkeypatch):
    original = one_run.p_value
    monkeypatch.setattr(
        one_run, "p_value", lambda m, r, v, epsilon, delta: original(m, r, v, 0.8 * epsilon, delta)
    )
    caught(lambda: check_audit_level(randomized_response(4.0), 4.0))
    caught(lambda: check_guess_p_value(2.0, 0.0, 5))
