"""An audited epsilon never lies above the true one more often than it says."""

import math

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from tests.laws.checks_audit import (
    NULLS,
    all_or_nothing,
    check_level,
    check_power,
    check_theorem,
    gaussian,
    randomized_response,
)


@pytest.mark.parametrize("name", NULLS)
def test_scores_that_tell_nothing_show_nothing(name):
    check_level(NULLS[name], 0.0)


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 4.0])
def test_randomized_response_is_not_overstated(epsilon):
    check_level(randomized_response(epsilon), epsilon)


@pytest.mark.parametrize("epsilon", [1.0, 3.0, 8.0])
def test_a_gaussian_mechanism_is_not_overstated(epsilon):
    def delta(mu):
        return norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)

    check_level(gaussian(brentq(lambda mu: delta(mu) - 1e-5, 0.1, 3.0)), epsilon)


def test_a_leak_of_probability_delta_is_not_overstated():
    check_level(all_or_nothing(0.2), 0.0, delta=0.2)


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("delta", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("canaries", [1, 2, 5, 8])
def test_no_private_mechanism_beats_the_theorem(epsilon, delta, canaries):
    check_theorem(epsilon, delta, canaries)


def test_leaks_are_seen():
    check_power(gaussian(0.72), 0.5)
    check_power(gaussian(1.666), 2.0)
    check_power(randomized_response(2.0), 1.5)
    check_power(gaussian(100.0), 4.88)
