import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom, norm

from quintain.core.errors import DataError, SettingError
from quintain.dp.accounting.gaussian import gaussian_epsilon
from quintain.leakage import audit_gaussian
from quintain.leakage.audit.gaussian_audit import gaussian_dp_epsilon
from quintain.testing import gaussian_scores

DELTA = 1e-5


@pytest.mark.parametrize("mu", [0.05, 0.7, 1.666, 5.0, 12.0])
@pytest.mark.parametrize("delta", [1e-8, DELTA, 0.01])
def test_epsilon_of_a_gaussian_is_the_accountants_rounded_down(mu, delta):
    exact = gaussian_epsilon(1 / mu, delta)
    assert gaussian_dp_epsilon(mu, delta) == pytest.approx(exact, abs=1e-6)
    assert gaussian_dp_epsilon(mu, delta) <= exact + 1e-9


@pytest.mark.parametrize(("canaries", "least"), [(200, 6.0), (1000, 6.9)])
def test_an_ideal_gaussian_of_epsilon_8_is_shown_nearly_whole(canaries, least):
    shown = []
    for run in range(20):
        rng = np.random.default_rng([run, canaries])
        coins = rng.random(canaries) < 0.5
        shown.append(audit_gaussian(gaussian_scores(1.666)(rng, coins), coins, seed=run).epsilon)
    assert least <= np.mean(shown) <= 8.0
    assert np.mean(np.array(shown) > 8.0) <= 0.25


def test_counts_stand_beside_the_weighted_sum():
    coins = np.arange(40) % 2 == 0
    found = audit_gaussian(coins.astype(float), coins)
    assert (found.guesses, found.correct, found.weighted) == (40, 40, 80)
    assert found.epsilon == found.max_auditable_epsilon > 4
    assert found.mu == pytest.approx(2 * norm.ppf(0.05 ** (1 / 40)), abs=1e-6)


def test_no_rule_that_reads_all_scores_is_right_more_often_than_the_binomial():
    truth, canaries = 0.8, 2
    outcomes = list(product((0, 1), repeat=canaries))
    chance = {
        (coins, told): math.prod(
            0.5 * (truth if a == b else 1 - truth) for a, b in zip(coins, told, strict=True)
        )
        for coins, told in product(outcomes, outcomes)
    }
    for guesses in product(outcomes, repeat=len(outcomes)):
        rule = dict(zip(outcomes, guesses, strict=True))
        for least in (1, 2):
            reached = sum(
                p
                for (coins, told), p in chance.items()
                if sum(a == b for a, b in zip(coins, rule[told], strict=True)) >= least
            )
            assert reached <= binom.sf(least - 1, canaries, truth) + 1e-12


def test_scores_that_depend_on_each_other_overstate_epsilon_so_that_it_is_no_side_of_a_bracket():
    # The coin of each canary is told with a probability that a mu-GDP mechanism has, the same for all: what
    # one canary shows is the same as with a Gaussian, and in a lucky run all are told well.
    mu, canaries, above = 1.0, 200, 0
    for run in range(60):
        rng = np.random.default_rng([run, 7])
        coins = rng.random(canaries) < 0.5
        truth = 1 / (1 + math.exp(-abs(rng.normal(mu**2 / 2, mu))))
        told = coins == (rng.random(canaries) < truth)
        above += audit_gaussian(told.astype(float), coins, seed=run).mu > mu
    assert above > 10


def test_randomized_response_of_epsilon_2_is_as_often_right_as_a_gaussian_of_epsilon_12():
    mu = 2 * norm.ppf(1 / (1 + math.exp(-2)))
    assert 12 < gaussian_dp_epsilon(mu, DELTA) < 12.5


def test_equal_scores_show_nothing():
    coins = np.random.default_rng(0).random(100) < 0.5
    assert audit_gaussian(np.zeros(100), coins).epsilon == 0


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_a_delta_out_of_range_is_refused(delta):
    with pytest.raises(SettingError, match="delta = "):
        audit_gaussian([0.0, 1.0], [False, True], delta=delta)


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match="NaN"):
        audit_gaussian([0.0, math.nan], [False, True])
