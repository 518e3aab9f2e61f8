"""The sequential test of smoothing, by exact enumeration of its votes and by closed forms."""

from itertools import pairwise
from unittest.mock import patch

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import ndtr, ndtri
from scipy.stats import beta, binom, laplace
from torch import nn

from quintain.certify import SmoothedClassifier, smoothing_evidence
from quintain.certify.smoothing_evidence import RadiusTest, fixed_radius, log_evidence, looks, radius_at
from quintain.certify.smoothing_noise import GAUSSIAN, LAPLACE, UNIFORM
from quintain.core.errors import SettingError
from quintain.core.statistics import binomial_lower
from quintain.models.classifier import Classifier
from quintain.testing import CERTIFIER_BUGS
from quintain.threats import L2


def true_probability(test: RadiusTest, radius: float) -> float:
    """The probability of a hit on an example of this true radius, in a half-space along one axis."""
    if test.noise is UNIFORM:
        return 0.5 + radius / (2 * np.sqrt(3) * test.sigma)
    if test.noise is LAPLACE:
        return float(laplace.cdf(radius, scale=test.sigma / np.sqrt(2)))
    return float(ndtr(radius / test.sigma))


def endings(test: RadiusTest, probability: float, radius: float):
    """Every way in which a test can end: samples (N,), chances (N,), whether ``radius`` is proved (N,) bool.

    By the exact distribution of the hits of examples that are not decided yet, look by look; what is rarer
    than 1e-15 is left out.
    """
    alive, seen, found, most = np.ones(1), 0, [], test.max_misses()
    radii, tail = np.array(test.radii), np.asarray(1 - true_probability(test, radius))
    for look in looks(test.max_samples):
        alive = np.convolve(alive, binom.pmf(np.arange(look - seen + 1), look - seen, probability))
        seen, hits = look, np.flatnonzero(alive > 1e-15)
        certified = test.certifies(hits, look)
        hopeless = (look - hits)[:, None] > most
        done = (certified | test.refuses(hits, look) | hopeless).all(1) | (look == test.max_samples)
        proved = certified[:, radii >= radius].any(1) | test._passes(hits, np.full_like(hits, look), tail)
        found.append((np.full(done.sum(), look), alive[hits[done]], proved[done]))
        left = np.zeros_like(alive)
        left[hits[~done]] = alive[hits[~done]]
        alive = left
    return tuple(np.concatenate(column) for column in zip(*found, strict=True))


def chance_of_false(test: RadiusTest, radius: float) -> float:
    """The exact probability that an example of a true radius gets a certificate of that radius or more."""
    _, chance, proved = endings(test, true_probability(test, radius), radius)
    return float(chance[proved].sum())


CASES = [
    ((0.4,), 0.4),
    ((1.0,), 1.0),
    ((2.0,), 2.0),
    ((0.5, 1.0, 2.0), 1.0),
    ((0.5, 2.0), 1.2),
    ((0.0,), 0.0),
]


@pytest.mark.parametrize(("radii", "true"), CASES)
@pytest.mark.parametrize("noise", [GAUSSIAN, UNIFORM, LAPLACE], ids=lambda noise: noise.name)
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_no_certificate_is_false_more_often_than_alpha(radii, true, alpha, noise):
    test = RadiusTest(1.5, radii, alpha, 1500, noise)
    chance = chance_of_false(test, true)
    assert 0 < chance <= alpha
    _, chances, _ = endings(test, 0.8, true)
    assert chances.sum() == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("true", [0.3, 1.0, 1.7])
def test_the_stated_error_holds_in_many_repetitions(true):
    runs, alpha = 100_000, 0.05
    test = RadiusTest(1.0, (0.3, 1.0, 1.7), alpha, 600)
    rng, hits, alive = np.random.default_rng(5), np.zeros(runs, dtype=np.int64), np.ones(runs, bool)
    false, seen, most = np.zeros(runs, bool), 0, test.max_misses()
    for look in looks(test.max_samples):
        hits[alive] += rng.binomial(look - seen, ndtr(true), alive.sum())
        seen = look
        counts, row = np.unique(hits[alive], return_inverse=True)
        certified = test.certifies(counts, look)
        false[alive] |= certified[:, np.array(test.radii) >= true].any(1)[row]
        hopeless = (look - counts)[:, None] > most
        alive[alive] = ~(certified | test.refuses(counts, look) | hopeless).all(1)[row]
    assert 0 < false.mean() <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / runs)


@pytest.mark.parametrize("radius", [0.4, 1.0])
def test_mutant_a_fixed_limit_at_every_look_is_false_too_often(radius):
    test = RadiusTest(1.0, (radius,), 0.01, 1500)
    assert chance_of_false(test, radius) <= 0.01
    with CERTIFIER_BUGS["a fixed limit at every look"].planted():
        assert chance_of_false(test, radius) > 0.03


def test_mutant_alpha_spent_twice_is_false_too_often():
    test = RadiusTest(1.0, (1.0,), 0.05, 1000)
    assert chance_of_false(test, 1.0) <= 0.05
    twice = RadiusTest(1.0, (1.0,), 0.1, 1000)
    with patch.object(smoothing_evidence, "SEQUENCE_SHARE", 0.5):
        assert chance_of_false(twice, 1.0) > 0.05


def test_the_evidence_is_the_mean_of_the_likelihood_ratio_over_the_bets():
    a, b = smoothing_evidence.PRIOR
    for hits, misses, tail in ((20, 1, 0.3), (5, 0, 0.05), (300, 20, 0.1), (3, 9, 0.5)):
        weight = beta(a, b)

        def bet(q, hits=hits, misses=misses, tail=tail, weight=weight):
            ratio = hits * np.log(q / (1 - tail)) + misses * (np.log1p(-q) - np.log(tail))
            return np.exp(ratio) * weight.pdf(q) / weight.sf(1 - tail)

        exact = sum(
            quad(bet, low, high, limit=200)[0] for low, high in ((1 - tail, 1 - tail / 9), (1 - tail / 9, 1))
        )
        found = log_evidence(np.array(hits), np.array(misses), np.array(tail))
        assert np.exp(found) == pytest.approx(exact, rel=1e-5)


def test_one_more_sample_raises_no_expected_evidence():
    tails = ndtr(-np.linspace(0, 3, 13))
    for samples in (1, 7, 40, 900):
        hits = np.arange(samples + 1)[:, None]
        now, hit, miss = (
            log_evidence(hits + more, samples - hits + less, tails) for more, less in ((0, 0), (1, 0), (0, 1))
        )
        mean = np.logaddexp(np.log1p(-tails) + hit, np.log(tails) + miss)
        known = hits > (1 - tails) * samples  # elsewhere the evidence is at most 1, and nothing passes
        assert np.abs(mean[known] - now[known]).max() < smoothing_evidence.SLACK / 10
        assert (hit >= miss)[known].all()
        assert (now[~known] <= 0).all()


def test_whatever_passes_passes_at_smaller_radii():
    tails = ndtr(-np.linspace(0, 4, 60))
    for samples in (5, 8, 30, 200, 1000):
        for alpha in (0.49, 0.05, 0.001):
            test = RadiusTest(1.0, (1.0,), alpha, 1000)
            hits = np.arange(samples + 1)[:, None]
            passes = test._passes(hits, np.full_like(hits, samples), tails[None])
            assert (passes[:, 1:] <= passes[:, :-1]).all()


def check_rounded_down():
    """No radius exceeds the exact one, by as little as the last bit."""
    for hits, samples in ((300, 300), (950, 1000), (1000, 1000), (70, 100)):
        exact = ndtri(binomial_lower(hits, samples, 0.999)) * 0.25
        found = fixed_radius(hits, samples, 0.001, 0.25)
        assert exact * (1 - 1e-9) < found < exact, f"a radius of {found} rounded down from {exact}"
    test = RadiusTest(0.25, (0.25,), 0.001, 1000)
    for hits, samples in ((70, 72), (190, 200), (1000, 1000)):
        (found,) = test.radius(np.array([hits]), np.array([samples]))
        shown, more = (
            test._passes(np.array(hits), np.array(samples), ndtr(-found * factor / 0.25))
            for factor in (1, 1 + 1e-9)
        )
        assert shown, f"a radius of {found} that is proved"
        assert not more, f"a radius of {found} that is the largest"


def test_radii_are_rounded_down():
    check_rounded_down()
    assert radius_at(0.0, 1.0) == -np.inf
    assert radius_at(0.5, 1.0) < 0


@pytest.mark.parametrize(
    ("target", "replacement"),
    [
        ("radius_at", lambda probability, sigma, noise: float(sigma * ndtri(probability))),
        ("radius_at", lambda probability, sigma, noise: round(float(sigma * ndtri(probability)), 3)),
        ("_round_down", lambda value: value * (1 + 1e-9)),
    ],
)
def test_mutant_a_radius_that_is_not_rounded_down_is_noticed(target, replacement):
    with (
        patch.object(smoothing_evidence, target, replacement),
        pytest.raises(AssertionError, match="a radius of"),
    ):
        check_rounded_down()


def test_an_asked_radius_is_certified_below_the_proved_one_alone():
    test = RadiusTest(0.5, (0.1, 0.5, 1.0), 0.01, 2000)
    for look in (48, 200, 2000):
        hits = np.arange(look + 1)
        certified, radius = test.certifies(hits, look), test.radius(hits, np.full(look + 1, look))
        assert (certified <= (radius[:, None] > np.array(test.radii))).all()
        assert (certified[:, 1:] <= certified[:, :-1]).all()


def test_misses_that_hits_alone_cannot_make_up_for():
    test = RadiusTest(1.0, (0.5, 2.0, 3.2), 0.001, 2000)
    for most, radius in zip(test.max_misses(), test.radii, strict=True):
        last = np.arange(2001)
        passes = RadiusTest(1.0, (radius,), 0.001, 2000).certifies(last[::-1], 2000)[:, 0]
        assert passes.sum() == most + 1
    assert test.max_misses()[-1] == -1
    assert test.max_radius < 3.2


def test_looks_rise_to_the_last_sample():
    for most in (1, 7, 8, 200, 9_999, 10_000):
        found = list(looks(most))
        assert found[-1] == most
        assert all(second > first for first, second in pairwise(found))


@pytest.mark.parametrize(
    ("ratio", "probability", "most"),
    [(0.4, 0.95, 60), (1.0, 0.99, 90), (2.0, 0.999, 600), (2.0, 1.0, 450), (1.0, 0.7, 200)],
)
def test_a_tenth_of_ten_thousand_samples_decides_radii_up_to_two_sigma(ratio, probability, most):
    samples, chance, _ = endings(RadiusTest(1.0, (ratio,), 0.001, 2000), probability, ratio)
    assert (samples * chance).sum() < most


@pytest.mark.parametrize("noise", [GAUSSIAN, LAPLACE], ids=lambda one: one.name)
def test_no_number_of_samples_certifies_where_the_drawn_noise_ends(noise):
    """Where an answer changes so far away that no number drawn in float32 comes there, all samples agree."""
    sizes = noise.fill(torch.empty(2**20), torch.Generator().manual_seed(0)).abs() / noise.unit
    assert sizes.max() < 1.4 * noise.max_ratio
    asked = (0.99 * noise.max_ratio, 1.01 * noise.max_ratio)
    test = RadiusTest(2.0, tuple(2.0 * noise.unit * one for one in asked), 0.3, 10**12, noise)
    hits = np.array([10**12])
    assert test.certifies(hits, 10**12)[0].tolist() == [True, False]
    assert (test.max_misses() >= 0).tolist() == [True, False]
    limit = 2.0 * noise.unit * noise.max_ratio
    assert test.max_radius <= limit
    # nor where no radius is asked for
    assert 0.99 * limit < fixed_radius(10**12, 10**12, 0.3, 2.0, noise) <= limit
    assert radius_at(1.0, 2.0, noise) <= limit


def test_what_no_number_of_samples_certifies_is_said_so():
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(1, 2)).eval())
    many, few = (SmoothedClassifier(model, 0.25, noise_samples=count) for count in (10**10, 1000))
    assert many.max_radius <= 1.25
    with pytest.raises(
        SettingError, match=r"reach 1\.25 at most, and no number of them more\. Give a larger"
    ):
        many.require_certifiable(L2(1.25))
    with pytest.raises(SettingError, match=r"at most\. Give more noise samples, a larger sigma"):
        few.require_certifiable(L2(1.25))
