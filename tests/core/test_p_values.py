"""Samples of the assumed distribution are rejected as often as the p-value says; others are rejected."""

import math

import numpy as np
import pytest
from scipy.stats import binom, chi2, halfnorm, kstest, norm

from quintain.core.p_values import (
    TAIL_BOUNDS,
    autocorrelation_test,
    chi_square_test,
    chi_square_to_normal,
    cosine_test,
    kolmogorov_test,
    magnitudes_to_normal,
    mean_deviations_to_half_normal,
    noisy_binomial_p_value,
    normal_p_value,
    omnibus_test,
    residuals_to_normal,
    similarity_p_values,
    small_gap_test,
    tail_test,
)

RUNS = 2000


def share_below(level, p_values):
    return sum(p <= level for p in p_values) / len(p_values)


@pytest.mark.parametrize("z", [0.0, 1.0, -2.5, 8.0])
def test_the_p_value_of_a_normal_number(z):
    assert normal_p_value(z) == pytest.approx(2 * norm.sf(abs(z)), rel=1e-12)


@pytest.mark.parametrize("count", [1, 10, 100_000])
def test_the_spread_is_chi_square(count):
    for ratio in (0.99, 1.0, 1.01):
        p_value, z = chi_square_test(ratio, count)
        assert p_value == pytest.approx(
            2 * min(chi2.cdf(ratio * count, count), chi2.sf(ratio * count, count)), rel=1e-6
        )
        assert z == pytest.approx((ratio - 1) * math.sqrt(count / 2))


def test_a_missing_twentieth_of_the_noise_is_seen_in_the_numbers_of_a_drill():
    p_value, z = chi_square_test(0.95**2, 276 * 250)
    assert p_value < 1e-60
    assert z == pytest.approx(-18.1, abs=0.1)


@pytest.mark.parametrize("size", [2, 3, 20])
def test_cosines_of_unrelated_vectors_are_as_rare_as_they_say_whatever_their_scales(size):
    rng = np.random.default_rng(size)
    p_values = [cosine_test(rng.normal(size=size), 1e6 * rng.normal(size=size))[0] for _ in range(RUNS)]
    for level in (0.5, 0.1, 0.01):
        assert share_below(level, p_values) == pytest.approx(level, abs=5 * math.sqrt(level / RUNS))


def test_cosines_of_the_same_vector_and_of_nothing():
    x = np.arange(1.0, 11.0)
    assert cosine_test(x, -3 * x) == (pytest.approx(0.0, abs=1e-30), pytest.approx(-1.0))
    assert cosine_test(x, 0 * x) == (1.0, 0.0)
    assert cosine_test(x[:1], x[:1])[0] == 1.0


@pytest.mark.parametrize(
    ("trials", "probability", "deviation"), [(1, 0.3, 0.5), (7, 0.1, 0.2), (40, 1.0, 2.0), (300, 0.02, 0.6)]
)
def test_sums_of_coins_with_noise_are_as_rare_as_they_say(trials, probability, deviation):
    rng = np.random.default_rng(trials)
    sums = rng.binomial(trials, probability, RUNS) + deviation * math.sqrt(trials) * rng.standard_normal(RUNS)
    p_values = [noisy_binomial_p_value(float(total), trials, probability, deviation) for total in sums]
    for level in (0.5, 0.1, 0.01):
        assert share_below(level, p_values) <= level + 5 * math.sqrt(level / RUNS)
    exact = sum(
        binom.pmf(k, trials, probability) * norm.sf(trials, k, deviation * math.sqrt(trials))
        for k in range(trials + 1)
    )
    assert noisy_binomial_p_value(float(trials), trials, probability, deviation) == pytest.approx(
        min(1.0, 2 * min(exact, 1 - exact)), rel=1e-9
    )


def test_the_shape_of_uniform_numbers_and_of_others():
    rng = np.random.default_rng(0)
    p_values = [kolmogorov_test(rng.random(200))[0] for _ in range(RUNS)]
    assert share_below(0.05, p_values) <= 0.05 + 5 * math.sqrt(0.05 / RUNS)
    assert kolmogorov_test(rng.random(2000) ** 1.5)[0] < 1e-6
    assert kolmogorov_test(np.array([0.5]))[1] == 0.5


def test_the_numbers_in_the_tails_are_binomial():
    z = np.random.default_rng(0).standard_normal(10**4) - 0.1
    counts = [
        (norm.sf(b) * k, n)
        for b in TAIL_BOUNDS
        for k, n in ((1, (z < -b).sum()), (1, (z > b).sum()), (2, (abs(z) > b).sum()))
    ]
    p_values = [
        2 * min(binom.cdf(n, len(z), chance), binom.sf(n - 1, len(z), chance), 0.5) for chance, n in counts
    ]
    p_value, bound, count, expected = tail_test(z)
    assert p_value == pytest.approx(min(1, len(counts) * min(p_values)), rel=1e-3)
    chance, n = counts[int(np.argmin(p_values))]
    assert (count, expected) == (n, pytest.approx(len(z) * chance, rel=1e-3))
    assert bound == TAIL_BOUNDS[int(np.argmin(p_values)) // 3]


@pytest.mark.parametrize("count", [1, 40, 1000])
def test_tails_and_repeats_of_normal_numbers_are_at_most_as_rare_as_they_say(count):
    rng = np.random.default_rng(count)
    drawn = [rng.standard_normal(count) for _ in range(RUNS // 5)]
    for level in (0.5, 0.1, 0.01):
        allowed = level + 5 * math.sqrt(level / len(drawn))
        assert share_below(level, [tail_test(z)[0] for z in drawn]) <= allowed
        assert share_below(level, [autocorrelation_test(z)[0] for z in drawn]) <= allowed
        assert (
            share_below(level, [autocorrelation_test(z, np.arange(count) % 3 > 0)[0] for z in drawn])
            <= allowed
        )


@pytest.mark.parametrize("count", [1, 2, 30, 1000])
def test_gaps_of_uniform_numbers_are_at_most_as_rare_as_they_say(count):
    rng = np.random.default_rng(count)
    within = 0.1 / count
    found = [small_gap_test(rng.random(count), within) for _ in range(RUNS)]
    for level in (0.5, 0.1, 0.01):
        assert share_below(level, [p for p, *_ in found]) <= level + 5 * math.sqrt(level / RUNS)
    expected = (count - 1) * (1 - (1 - within) ** count)
    assert found[0][2] == pytest.approx(expected)
    assert np.mean([n for _, n, _ in found]) == pytest.approx(expected, abs=5 * math.sqrt(expected / RUNS))


def test_numbers_of_a_grid_are_crowded():
    rng = np.random.default_rng(0)
    for values in (1, 1000, 2**17 - 1):
        assert small_gap_test(rng.integers(0, values, 10**5) / values, 1e-7)[0] < 1e-100


@pytest.mark.parametrize("largest", [3.0, 4.0])
def test_noise_with_a_largest_value_is_seen_in_half_a_million_numbers(largest):
    rng = np.random.default_rng(0)
    assert tail_test(rng.standard_normal(540_672).clip(-largest, largest))[0] < 1e-8


def test_the_distance_of_a_repetition_is_found_and_its_correlation_is_that_of_the_pairs():
    rng = np.random.default_rng(0)
    z = rng.standard_normal(3000)
    z[2000:2900] = -z[700:1600]
    counted = rng.random(3000) < 0.7
    for mask in (None, counted):
        p_value, distance, correlation = autocorrelation_test(z, mask)
        pairs = np.ones(1700, dtype=bool) if mask is None else mask[1300:] & mask[:-1300]
        assert distance == 1300
        assert correlation == pytest.approx((z[1300:] * z[:-1300])[pairs].mean())
        x = 4 * abs(correlation)
        s = math.hypot(1, x)
        bound = 2 * math.exp(-pairs.sum() / 8 * (s - 1 - math.log((1 + s) / 2)))
        assert p_value < 1e-8
        assert bound <= p_value <= 3000 * bound


def test_the_bound_on_a_correlation_holds_where_it_can_be_worked_out():
    """Two numbers: P[|z1 z2| > x] by quadrature over z1."""
    from scipy.integrate import quad

    for x in (1.0, 3.0, 8.0, 20.0):
        exact = 4 * quad(lambda a, x=x: norm.pdf(a) * norm.sf(x / a), 0, 40, points=[math.sqrt(x)])[0]
        assert exact <= autocorrelation_test(np.array([x, 1.0]))[0]


def test_a_series_that_is_no_number_has_no_p_value_that_passes():
    assert not autocorrelation_test(np.full(50, np.nan))[0] >= 1e-9


def test_ranks_of_sums_of_squares_and_of_sizes_are_those_of_normal_numbers():
    counts, totals = np.array([1.0, 7.0, 1e6]), np.array([0.3, 9.0, 1.001e6])
    np.testing.assert_allclose(
        chi_square_to_normal(totals, counts), norm.ppf(chi2.cdf(totals, counts)), rtol=1e-6
    )
    assert chi_square_to_normal(np.array([0.0, 1e9]), np.array([5.0, 5.0])).tolist() == [-37.0, 37.0]
    z = np.array([-3.0, -0.2, 0.1, 2.0])
    np.testing.assert_allclose(magnitudes_to_normal(z), norm.ppf(2 * norm.cdf(np.abs(z)) - 1), rtol=1e-9)
    assert np.isfinite(magnitudes_to_normal(np.array([0.0, 1e3]))).all()


@pytest.mark.parametrize("shape", [(1, 9), (5, 9), (9, 9), (9, 4)])
def test_what_is_new_in_each_row_is_its_distance_from_all_before_it(shape):
    z = np.random.default_rng(0).standard_normal(shape)
    rows = z if shape[0] <= shape[1] else z.T
    left = []
    for i, row in enumerate(rows):
        rest = row - rows[:i].T @ np.linalg.lstsq(rows[:i].T, row, rcond=None)[0] if i else row
        left.append(norm.ppf(chi2.cdf(rest @ rest, rows.shape[1] - i)))
    np.testing.assert_allclose(residuals_to_normal(z), left, rtol=1e-6)


@pytest.mark.parametrize("count", [1, 3, 200])
def test_normal_numbers_are_as_rarely_too_far_or_too_exact_as_they_say(count):
    rng = np.random.default_rng(count)
    p_values = [
        omnibus_test([x, x[:1], residuals_to_normal(rng.standard_normal((3, 5)))])[0]
        for x in rng.standard_normal((RUNS, count))
    ]
    for level in (0.5, 0.1, 0.01):
        assert share_below(level, p_values) <= level + 5 * math.sqrt(level / RUNS)


def test_numbers_that_are_too_exact_are_as_wrong_as_numbers_that_are_too_far():
    x = np.random.default_rng(0).standard_normal(400)
    assert omnibus_test([x])[0] > 0.01
    for wrong in (
        0.6 * x,
        1.5 * x,
        x + 0.5,
        np.where(np.arange(400) == 7, 1e-13, x),
        np.where(np.arange(400) == 7, 9.0, x),
        np.zeros(3),
    ):
        assert omnibus_test([x[:5], wrong])[0] < 1e-8
    assert omnibus_test([np.full((2, 30), 1.0) * np.abs(x[:30])])[0] < 1e-8
    assert omnibus_test([np.array([1e-4, -1e-4])])[0] == pytest.approx(6 * chi2.cdf(2e-8, 2), rel=1e-6)
    assert omnibus_test([np.array([np.nan, 1.0])])[0] == 0


@pytest.mark.parametrize("count", [1, 40, 5000])
def test_sums_of_squares_are_as_rarely_near_their_mean_as_they_say(count):
    counts = np.full(RUNS, float(count))
    totals = chi2.rvs(count, size=RUNS, random_state=np.random.default_rng(count))
    near, far = mean_deviations_to_half_normal(totals, counts), np.abs(totals - count)
    assert kstest(near, halfnorm.cdf).pvalue > 1e-6
    assert (np.argsort(near) == np.argsort(far)).all()
    assert mean_deviations_to_half_normal(counts[:1], counts[:1])[0] == 0
    p_values = [
        omnibus_test([chi_square_to_normal(x, counts[:4])], [mean_deviations_to_half_normal(x, counts[:4])])[
            0
        ]
        for x in totals.reshape(-1, 4)
    ]
    assert share_below(0.1, p_values) <= 0.1 + 5 * math.sqrt(0.1 / len(p_values))


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_the_similarity_is_a_p_value_and_tells_equal_vectors(count):
    x, y = np.random.default_rng(0).standard_normal((2, 20_000, count))

    def p_values(one, other):
        squares = [np.square(of).sum(axis=1) for of in (one, other)]
        return similarity_p_values((one * other).sum(axis=1), *squares, np.full(len(one), float(count)), 1e-6)

    for level in (0.3, 0.01):
        assert (p_values(x, y) < level).mean() < level + 6 * (level / 20_000) ** 0.5
    assert p_values(x, x).max() < (2e-6, 4e-12, 4e-18, 1e-99)[(1, 2, 3, 40).index(count)]
    assert count < 40 or np.median(p_values(x, np.where(np.arange(count) % 8, x, y))) < 1e-10
