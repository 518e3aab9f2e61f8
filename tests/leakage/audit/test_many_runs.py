"""Audits from many runs: limits at fixed ranks hold as often as they say, by exact laws and simulation."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta, binom

from quintain.core.errors import DataError
from quintain.leakage import audit_bayesian, audit_many_runs, audit_profile
from quintain.leakage.audit.bayesian import credible_epsilon
from quintain.leakage.audit.many_runs import RankTest, _p_value_at, _rates, rank_p_value, rank_tests


def arms(n, rng, mu=0.0):
    included = np.arange(2 * n) % 2 == 0
    return rng.standard_normal(2 * n) + mu * included, included


@pytest.mark.parametrize(("k", "runs", "trials"), [(0, 30, 40), (3, 30, 40), (8, 60, 20)])
@pytest.mark.parametrize("epsilon", [0.0, 1.5])
def test_a_p_value_is_that_of_the_best_mechanism_over_the_law_of_the_threshold(k, runs, trials, epsilon):
    def most(rates):
        return np.minimum(np.exp(epsilon) * rates, 1 - np.exp(-epsilon) * (1 - rates))

    for hits in range(1, trials + 1, 5):
        exact, _ = quad(
            lambda u, hits=hits: beta.pdf(u, k + 1, runs - k) * binom.sf(hits - 1, trials, most(u)),
            0,
            1,
            limit=400,
            points=[0.02, 0.1, 0.3],
        )
        ours = rank_p_value(RankTest(_rates(k, runs), hits, trials), most)
        assert exact * (1 - 1e-6) - 1e-10 <= ours <= exact * 1.15 + 1e-9


def test_its_p_values_are_small_as_often_as_they_say():
    rng, epsilon, k, runs, trials = np.random.default_rng(0), 1.0, 4, 60, 50
    thresholds = rng.beta(k + 1, runs - k, 20_000)
    hits = rng.binomial(trials, np.minimum(np.e * thresholds, 1 - (1 - thresholds) / np.e))
    p_values = np.array(
        [_p_value_at(RankTest(_rates(k, runs), h, trials), 0.0, epsilon) for h in range(trials + 1)]
    )[hits]
    for level in (0.5, 0.1, 0.01):
        assert (p_values <= level).mean() <= level + 4 * math.sqrt(level / 20_000)
    assert (p_values <= 0.1).mean() > 0.05


def test_all_tests_come_from_ranks_fixed_beforehand():
    rng = np.random.default_rng(0)
    scores, included = arms(100, rng)
    tests = rank_tests(scores, included, seed=0)
    assert len(tests) == 2 * 8
    for one, other in zip(tests, rank_tests(100 * scores**3, included, seed=0), strict=True):
        assert one.hits == other.hits
        assert (one.rates == other.rates).all()


@pytest.mark.parametrize(("runs", "expected"), [(100, 3.28), (1000, 5.60)])
def test_a_perfect_split_shows_about_what_clopper_and_pearson_allow_at_one_threshold(runs, expected):
    included = np.arange(2 * runs) % 2 == 0
    shown = audit_many_runs(included.astype(float), included, delta=0.0)
    assert shown.epsilon == pytest.approx(shown.max_auditable_epsilon, abs=1e-6)
    assert shown.epsilon == pytest.approx(expected, abs=0.4)


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
