import math
from itertools import product

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import binom, norm

from quintain.leakage.audit.weighted_guesses import (
    SURE_WEIGHT,
    largest_weighted_correct,
    mu_lower_bound,
    weighted_correct,
    weighted_p_value,
)


def strength_law(mu):
    """Density of |s| for s from N(mu / 2, 1), its upper tail, and how often a guess that strong is right."""
    return (
        lambda t: norm.pdf(t - mu / 2) + norm.pdf(t + mu / 2),
        lambda t: norm.sf(t - mu / 2) + norm.sf(t + mu / 2),
        lambda t: 1 / (1 + np.exp(-mu * t)),
    )


def test_the_sum_weighs_the_first_half_three_times():
    right = np.array([True, False, True, True, False])
    assert weighted_correct(right) == SURE_WEIGHT + 2
    assert weighted_correct(np.ones(5, dtype=bool)) == largest_weighted_correct(5) == 2 * SURE_WEIGHT + 3


@pytest.mark.parametrize("canaries", [1, 2, 5, 40])
def test_without_a_leak_every_guess_is_a_fair_coin(canaries):
    law = np.ones(1)
    for place in range(canaries):
        weight = SURE_WEIGHT if place < canaries // 2 else 1
        law = np.convolve(law, [0.5] + [0.0] * (weight - 1) + [0.5])
    for weighted in range(len(law)):
        assert weighted_p_value(canaries, weighted, 0.0) == pytest.approx(law[weighted:].sum(), rel=1e-8)


@pytest.mark.parametrize("mu", [0.01, 0.7, 1.666, 4.0])
def test_the_law_of_two_guesses_is_that_of_a_direct_integral(mu):
    density, tail, right = strength_law(mu)
    surer = quad(lambda t: 2 * density(t) * (1 - tail(t)) * right(t), 0, mu + 12)[0]
    assert weighted_p_value(2, 3, mu) == pytest.approx(surer, rel=1e-7)
    assert weighted_p_value(2, 4, mu) == pytest.approx(norm.cdf(mu / 2) ** 2, rel=1e-7)
    assert weighted_p_value(2, 1, mu) == pytest.approx(1 - norm.sf(mu / 2) ** 2, rel=1e-7)


@pytest.mark.parametrize("canaries", [7, 60])
@pytest.mark.parametrize("mu", [0.3, 1.666, 5.0])
def test_the_mean_is_that_of_each_guess_on_its_own(canaries, mu):
    density, tail, right = strength_law(mu)
    half = canaries // 2
    # A guess is among the surest half if fewer than that many of the other guesses are surer.
    t = np.linspace(0, mu + 12, 20_001)
    sure = np.trapezoid(density(t) * right(t) * binom.cdf(half - 1, canaries - 1, tail(t)), t)
    tails = [weighted_p_value(canaries, v, mu) for v in range(1, largest_weighted_correct(canaries) + 1)]
    expected = canaries * (norm.cdf(mu / 2) + (SURE_WEIGHT - 1) * sure)
    assert math.fsum(tails) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("canaries", [20, 201])
def test_simulated_guesses_of_an_ideal_gaussian_have_that_law(canaries):
    rng, mu, runs = np.random.default_rng(canaries), 1.2, 4000
    s = rng.standard_normal((runs, canaries)) + mu / 2
    order = np.argsort(-np.abs(s), axis=1)
    found = np.array([weighted_correct(right) for right in np.take_along_axis(s > 0, order, axis=1)])
    for weighted in np.quantile(found, (0.1, 0.5, 0.9, 0.99)).astype(int):
        chance = weighted_p_value(canaries, int(weighted), mu)
        assert abs((found >= weighted).mean() - chance) < 4.5 * math.sqrt(chance * (1 - chance) / runs)


def test_no_rule_reaches_a_sum_more_often_on_a_mechanism_that_is_as_private():
    # Each coin is told by one of four outputs: surely or hardly, truly or not. Its mu is the smallest with a
    # trade-off below its own; the best rule is found among all orders and guesses, output by output.
    surely, hardly = (0.35, 0.05), (0.4, 0.2)
    cells = [surely, hardly, hardly[::-1], surely[::-1]]
    corners = np.cumsum([(0.0, 0.0), *cells], axis=0)[1:-1]
    mu = max(norm.ppf(p) - norm.ppf(q) for p, q in corners)
    posteriors = [p / (p + q) for p, q in cells]
    for weighted in range(1, largest_weighted_correct(2) + 1):
        reached = 0.0
        for outputs in product(range(4), repeat=2):
            chance = math.prod(sum(cells[o]) / 2 for o in outputs)
            best = 0.0
            for order, guesses in product(((0, 1), (1, 0)), product((True, False), repeat=2)):
                says = [
                    posteriors[outputs[i]] if guess else 1 - posteriors[outputs[i]]
                    for i, guess in zip(order, guesses, strict=True)
                ]
                best = max(
                    best,
                    sum(
                        math.prod(p if x else 1 - p for p, x in zip(says, outcome, strict=True))
                        for outcome in product((0, 1), repeat=2)
                        if SURE_WEIGHT * outcome[0] + outcome[1] >= weighted
                    ),
                )
            reached += chance * best
        assert reached <= weighted_p_value(2, weighted, mu) + 1e-12


@pytest.mark.parametrize("canaries", [20, 200])
@pytest.mark.parametrize("mu", [1e-9, 1.666, 4.0])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_the_bound_exceeds_the_truth_with_the_stated_probability_at_most(canaries, mu, confidence):
    values = np.unique(np.linspace(0, largest_weighted_correct(canaries), 13).astype(int))
    bounds = np.array([mu_lower_bound(canaries, int(v), confidence) for v in values])
    assert (np.diff(bounds) >= 0).all()
    assert (np.array([mu_lower_bound(canaries, int(v), 0.9999) for v in values]) <= bounds).all()
    false = values[bounds > mu]
    assert not len(false) or weighted_p_value(canaries, int(false[0]), mu) <= 1 - confidence


@pytest.mark.parametrize("canaries", [8, 21, 500])
def test_a_bound_is_the_largest_that_is_refuted(canaries):
    weighted = round(0.9 * largest_weighted_correct(canaries))
    bound = mu_lower_bound(canaries, weighted, 0.9)
    assert weighted_p_value(canaries, weighted, bound) <= 0.1
    assert weighted_p_value(canaries, weighted, bound + 1e-5) > 0.1
    assert bound > 0


def test_sums_out_of_reach():
    assert weighted_p_value(10, 0, 1.0) == 1
    assert weighted_p_value(10, 21, 1.0) == 0
    assert mu_lower_bound(10, 0, 0.95) == 0
