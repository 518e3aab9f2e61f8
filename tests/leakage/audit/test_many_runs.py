"""Audits from many runs: limits at fixed ranks hold as often as they say, by exact laws and simulation."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from quintain.core.errors import DataError
from quintain.leakage import audit_bayesian, audit_many_runs, audit_profile
from quintain.leakage.audit.bayesian import credible_epsilon
from quintain.leakage.audit.many_runs import event_rates


def arms(n, rng, mu=0.0):
    included = np.arange(2 * n) % 2 == 0
    return rng.standard_normal(2 * n) + mu * included, included


def test_limits_of_rates_hold_together_as_often_as_they_say():
    wrong, mu, runs = 0, 1.0, 400
    for run in range(runs):
        rng = np.random.default_rng(run)
        scores, included = arms(60, rng, mu)
        low, high = np.sort(scores[~included]), np.sort(scores[included])
        rates = list(event_rates(scores, included, 0.5, seed=run))
        half = len(rates) // 2
        ranks = [0, *(2**step for step in range(half - 1))]
        for place, one in enumerate(rates):
            k = ranks[place % half]
            t = low[len(low) - 1 - k] if place < half else high[k]
            likely, unlikely = (
                (norm.sf(t - mu), norm.sf(t)) if place < half else (norm.cdf(t), norm.cdf(t - mu))
            )
            if likely < one.least or unlikely > one.most:
                wrong += 1
                break
    assert wrong / runs < 0.5 + 3 * math.sqrt(0.25 / runs)
    assert wrong > 20


def test_all_limits_come_from_ranks_fixed_beforehand():
    rng = np.random.default_rng(0)
    scores, included = arms(100, rng)
    most = [one.most for one in event_rates(scores, included, 0.05, seed=0)]
    other = [one.most for one in event_rates(100 * scores**3, included, 0.05, seed=0)]
    assert most == other
    assert len(most) == 2 * 8


@pytest.mark.parametrize(("runs", "expected"), [(100, 3.28), (1000, 5.60)])
def test_a_perfect_split_shows_nearly_what_clopper_and_pearson_allow_at_one_threshold(runs, expected):
    included = np.arange(2 * runs) % 2 == 0
    shown = audit_many_runs(included.astype(float), included, delta=0.0)
    assert shown.epsilon == shown.max_auditable_epsilon
    assert expected - 1.3 < shown.epsilon < expected


def test_ties_are_broken_without_a_look_at_the_arms():
    above = 0
    for run in range(100):
        included = np.arange(200) < 100  # members first
        above += audit_many_runs(np.zeros(200), included, seed=run).epsilon > 0
    assert above <= 5


def test_a_step_with_too_little_noise_is_seen_by_the_profile_in_hundreds_of_scores():
    seen, honest = [], []
    for run in range(10):
        rng = np.random.default_rng(run)
        included = np.arange(600) % 2 == 0
        noise = rng.standard_normal(600)
        seen.append(audit_profile(included / 0.6 + noise, included, seed=run).epsilon)
        honest.append(audit_profile(included / 1.2 + noise, included, seed=run).epsilon)
    claimed = 3.53  # a Gaussian mechanism with noise 1.2, at delta 1e-5
    assert np.median(seen) > claimed
    assert max(honest) <= claimed


def test_a_credible_limit_is_the_quantile_of_the_posterior():
    rng = np.random.default_rng(0)
    fpr, fnr = rng.beta(3.5, 98.5, 400_000), rng.beta(20.5, 80.5, 400_000)
    posterior = np.maximum(np.log((1 - fnr) / fpr), np.log((1 - fpr) / fnr))
    expected = np.quantile(posterior, 0.05)
    assert credible_epsilon(3, 101, 20, 100, 0.0, 0.95) == pytest.approx(expected, abs=0.01)


def test_a_credible_limit_is_no_confidence_limit():
    """Of randomized response at a true epsilon of 2 it is above the truth in more than 1 of 20."""
    above = 0
    for run in range(40):
        rng = np.random.default_rng(run)
        included = rng.random(200) < 0.5
        told = included == (rng.random(200) < 1 / (1 + math.exp(-2)))
        above += audit_bayesian(told.astype(float), included, seed=run).epsilon > 2
    assert 3 <= above <= 20


@pytest.mark.parametrize("audit", [audit_many_runs, audit_profile, audit_bayesian])
def test_what_no_audit_can_read_is_refused(audit):
    with pytest.raises(DataError, match="2 runs with the canary and 0 without"):
        audit([0.0, 1.0], [True, True])
    with pytest.raises(DataError, match="NaN"):
        audit([0.0, math.nan], [True, False])
    with pytest.raises(DataError, match="one boolean for each of 2"):
        audit([0.0, 1.0], [1, 0])
