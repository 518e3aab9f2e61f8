"""An audited epsilon never lies above the true one more often than it says."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from quintain.core.registry import declared_entries
from quintain.leakage import audit_one_run
from quintain.testing import (
    NULL_SCORES,
    all_or_nothing,
    check_audit,
    check_audit_level,
    check_audit_power,
    check_guess_p_value,
    gaussian_scores,
    randomized_response,
)

AUDITS = declared_entries("audit")
registered = pytest.mark.parametrize("name", sorted(AUDITS))


@registered
def test_it_says_what_it_guarantees(name):
    assert AUDITS[name].guarantee


def reads_runs(name):
    return AUDITS[name].fact("scores_of") == "runs"


@registered
@pytest.mark.parametrize("null", NULL_SCORES)
def test_of_each_registered_audit_scores_that_tell_nothing_show_nothing(name, null):
    check_audit_level(NULL_SCORES[null], 0.0, audit=AUDITS[name].load(), canaries=100, runs=30)


@pytest.mark.exhaustive
@registered
@pytest.mark.parametrize("null", NULL_SCORES)
def test_of_each_registered_audit_a_thousand_null_runs_show_nothing(name, null):
    check_audit_level(NULL_SCORES[null], 0.0, audit=AUDITS[name].load())


@pytest.mark.parametrize("name", list(filter(reads_runs, sorted(AUDITS))))
@pytest.mark.parametrize("null", ["normal", "all equal", "three levels", "heavy-tailed"])
def test_ten_times_as_many_runs_without_the_canary_show_nothing(name, null):
    check_audit_level(
        NULL_SCORES[null], 0.0, audit=AUDITS[name].load(), canaries=220, included=1 / 11, runs=40
    )


@registered
def test_no_registered_audit_overstates_a_gaussian_mechanism(name):
    check_audit_level(gaussian_scores(0.719), 3.0, audit=AUDITS[name].load(), runs=30)


@pytest.mark.parametrize("name", ["one-run", "many-runs"])
def test_without_an_assumption_randomized_response_is_not_overstated(name):
    check_audit_level(randomized_response(2.0), 2.0, audit=AUDITS[name].load(), runs=60)


@pytest.mark.parametrize("name", ["gaussian", "gaussian-curve", "gaussian-pair"])
def test_what_assumes_a_gaussian_overstates_others_and_says_that_it_is_an_assumption(name):
    assert AUDITS[name].is_true("rests_on_assumption")
    with pytest.raises(AssertionError, match="bound above epsilon"):
        check_audit_level(randomized_response(2.0), 2.0, audit=AUDITS[name].load(), runs=40)


POWER = {
    **{"one-run": 1.7, "gaussian-curve": 3.0, "plan-curve": 3.0, "gaussian": 5.2, "gaussian-pair": 5.8},
    **{"many-runs": 1.3, "profile": 4.8, "bayesian": 1.0},
}


@pytest.mark.parametrize("name", POWER)
def test_what_each_shows_of_a_gaussian_mechanism_of_epsilon_8(name):
    check_audit_power(gaussian_scores(1.666), POWER[name], audit=AUDITS[name].load(), canaries=200, runs=11)


@registered
def test_more_caution_never_shows_more(name):
    rng = np.random.default_rng(4)
    coins = rng.random(200) < 0.5
    scores, audit = 2 * coins + rng.standard_normal(200), AUDITS[name].load()
    shown = [audit(scores, coins, confidence=level).epsilon for level in (0.6, 0.95, 0.999)]
    assert shown == sorted(shown, reverse=True)
    assert shown[1] > 0
    by_delta = [audit(scores, coins, delta=delta).epsilon for delta in (1e-7, 1e-5, 1e-3)]
    assert by_delta == sorted(by_delta, reverse=True)
    bound = audit(scores, coins).bound
    levels = [bound.at_confidence(level) for level in (0.95, 0.99, 0.999, 1 - 1e-6)]
    assert levels == sorted(levels, reverse=True)


@registered
def test_to_each_registered_audit_scores_that_tell_all_show_a_leak(name):
    check_audit_power(gaussian_scores(100.0), 1.0, audit=AUDITS[name].load(), canaries=200, runs=3)


@pytest.mark.parametrize("name", NULL_SCORES)
def test_scores_that_tell_nothing_show_nothing(name):
    check_audit_level(NULL_SCORES[name], 0.0)


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 4.0])
def test_randomized_response_is_not_overstated(epsilon):
    check_audit_level(randomized_response(epsilon), epsilon)


@pytest.mark.parametrize("epsilon", [1.0, 3.0, 8.0])
def test_a_gaussian_mechanism_is_not_overstated(epsilon):
    def delta(mu):
        return norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)

    check_audit_level(gaussian_scores(brentq(lambda mu: delta(mu) - 1e-5, 0.1, 3.0)), epsilon)


def test_a_leak_of_probability_delta_is_not_overstated():
    check_audit_level(all_or_nothing(0.2), 0.0, delta=0.2)


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("delta", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("canaries", [1, 2, 5, 8])
def test_no_private_mechanism_beats_the_theorem(epsilon, delta, canaries):
    check_guess_p_value(epsilon, delta, canaries)


def test_leaks_are_seen():
    check_audit_power(gaussian_scores(0.72), 0.5)
    check_audit_power(gaussian_scores(1.666), 2.0)
    check_audit_power(randomized_response(2.0), 1.5)
    check_audit_power(gaussian_scores(100.0), 4.88)


def test_a_third_party_can_check_all_of_it_at_once():
    check_audit(audit_one_run, runs=100)


def test_an_audit_that_claims_too_much_or_sees_nothing_is_named_by_its_laws():
    class Bound:
        def __init__(self, epsilon):
            self.epsilon = epsilon

    with pytest.raises(AssertionError, match="nothing is shown by scores that tell nothing: heavy-tailed"):
        check_audit(lambda scores, included, *, delta, seed: Bound(0.1), runs=20)
    with pytest.raises(AssertionError, match="a full leak is seen: expected a median epsilon of at least"):
        check_audit(lambda scores, included, *, delta, seed: Bound(0.0), runs=20)
