"""The claimed accountant against closed forms and published values, and the noise that it is asked for."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from quintain.core.errors import ContradictionError, SettingError
from quintain.dp import Ledger, Release, calibrate_noise_multiplier, delta_curve, epsilon
from quintain.dp.accounting import composed_epsilon, epsilon_bounds, pld, prv, rdp
from quintain.dp.accounting.pld import MIN_NOISE_MULTIPLIER
from tests.dp.support.figures import GAUSSIAN, ROWS, gaussian_epsilon, gaussian_log_delta


@pytest.mark.parametrize(("sigma", "steps"), [(0.5, 1), (1, 1), (2, 1), (10, 100), (5, 1), (4, 7), (0.1, 3)])
def test_without_sampling_it_is_the_exact_gaussian(sigma: float, steps: int) -> None:
    exact = gaussian_epsilon(sigma / math.sqrt(steps), 1e-5)
    assert exact <= epsilon(sigma, 1, steps, 1e-5) <= exact * 1.001


@pytest.mark.parametrize(("sigma", "value"), GAUSSIAN.items())
def test_published_values_of_the_gaussian(sigma: float, value: float) -> None:
    assert epsilon(sigma, 1, 1, 1e-5) == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize(("rate", "sigma", "steps", "delta", "value", "by_rdp"), ROWS)
def test_published_values(
    rate: float, sigma: float, steps: int, delta: float, value: float, by_rdp: float
) -> None:
    found = epsilon(sigma, rate, steps, delta)
    assert value - 1e-4 <= found <= value * 1.005
    assert rdp.rdp_epsilon([(sigma, rate, steps)], delta) == pytest.approx(by_rdp, abs=1e-4)


@pytest.mark.parametrize("row", [ROWS[2], ROWS[8], ROWS[10]])
def test_a_finer_grid_gives_every_digit(row: tuple[float, float, int, float, float, float]) -> None:
    rate, sigma, steps, delta, value, _ = row
    assert composed_epsilon([(sigma, rate, steps)], delta, interval=1e-4) == pytest.approx(value, abs=1e-4)


def test_the_check_of_every_example_script() -> None:
    assert round(epsilon(1.1, 256 / 60000, 3516, 1e-5), 3) == 1.134
    assert round(rdp.rdp_epsilon([(1.1, 256 / 60000, 3516)], 1e-5), 3) == 1.281


@pytest.mark.parametrize(
    ("rate", "sigma", "values"),
    [
        (0.01, 4.0, (6.449e-6, 1.292e-5, 2.590e-5, 5.207e-5, 1.053e-4, 2.152e-4)),
        (0.01, 1.0, (1.718e-4, 3.632e-4, 8.936e-4, 3.088, 11.25, 27.32)),
        (0.1, 2.0, (2.836e-3, 6.003e-3, 1.373e-2, 4.529e-2, 1.627, 5.661)),
    ],
)
def test_renyi_divergences_of_a_step(rate: float, sigma: float, values: tuple[float, ...]) -> None:
    found = dict(zip(rdp.ORDERS, rdp.poisson_gaussian_rdp(sigma, rate), strict=True))
    assert [found[order] for order in (2, 4, 8, 16, 32, 64)] == pytest.approx(values, rel=2e-3)
    assert found[2] == pytest.approx(math.log1p(rate**2 * math.expm1(sigma**-2)), rel=1e-9)


def test_whole_orders_alone_give_what_the_package_gives_at_them() -> None:
    own = rdp.epsilon_from_rdp(500 * rdp.poisson_gaussian_rdp(1.3, 0.02), 1e-5)
    assert own == pytest.approx(rdp.rdp_epsilon([(1.3, 0.02, 500)], 1e-5, rdp.ORDERS), rel=1e-9)
    assert rdp.epsilon_from_rdp(rdp.poisson_gaussian_rdp(2.0, 1.0), 1e-5) == pytest.approx(
        rdp.rdp_epsilon([(2.0, 1.0, 1)], 1e-5, rdp.ORDERS), rel=1e-9
    )


@pytest.mark.parametrize(("sigma", "bins"), [(1.0, 2), (0.7, 3)])
def test_moments_of_balls_in_bins_are_those_of_brute_force(sigma: float, bins: int) -> None:
    points, weights = np.polynomial.hermite_e.hermegauss(120)
    ratios, weights = np.exp(points / sigma - 0.5 / sigma**2), weights / weights.sum()
    grids = np.meshgrid(*[ratios] * bins)
    chances = np.prod(np.meshgrid(*[weights] * bins), axis=0)
    mean = sum(grids) / bins
    for order, found in list(zip(rdp.ORDERS, rdp.balls_in_bins_rdp(sigma, bins), strict=True))[:4]:
        both = max(float((chances * mean**order).sum()), float((chances * mean ** (1.0 - order)).sum()))
        assert found == pytest.approx(math.log(both) / (order - 1), rel=1e-5)


def test_balls_in_bins_cost_no_more_than_a_step_alone_and_about_what_poisson_costs() -> None:
    alone = np.array(rdp.ORDERS) / 2
    assert (rdp.balls_in_bins_rdp(1.0, 100) <= alone).all()
    assert rdp.balls_in_bins_rdp(1.0, 1) == pytest.approx(alone)
    thrown, drawn = (
        rdp.epsilon_from_rdp(10 * rdp.balls_in_bins_rdp(1.0, 100), 1e-5),
        rdp.epsilon_from_rdp(1000 * rdp.poisson_gaussian_rdp(1.0, 0.01), 1e-5),
    )
    assert 0.9 * drawn < thrown < 1.1 * drawn


def test_the_first_values_of_a_curve_are_closed_forms() -> None:
    curve = delta_curve(2.0, 1.0, 1)
    assert curve(0.0) == pytest.approx(2 * float(ndtr(0.25)) - 1, rel=1e-3)
    for sigma, value in ((0.5, 0.5099), (1.0, 0.1269), (2.0, 6.830e-3)):
        assert delta_curve(sigma, 1.0, 1)(1.0) == pytest.approx(value, rel=1e-2)
        assert math.exp(gaussian_log_delta(1.0, sigma)) <= delta_curve(sigma, 1.0, 1)(1.0)


def test_no_steps_cost_nothing_and_no_noise_everything() -> None:
    assert epsilon(1.0, 0.1, 0, 1e-5) == 0
    assert epsilon(0.0, 0.1, 1, 1e-5) == math.inf
    assert epsilon(0.0, 0.1, 0, 1e-5) == 0
    assert delta_curve(0.0, 0.1, 1)(5.0) == 1
    assert delta_curve(1.0, 0.1, 0)(0.0) == 0
    assert rdp.rdp_epsilon([(1.0, 0.1, 0)], 1e-5) == 0


@settings(max_examples=5, deadline=None)
@given(rate=st.floats(0.01, 0.5), sigma=st.floats(2, 5), steps=st.integers(1, 100))
def test_it_is_monotone(rate: float, sigma: float, steps: int) -> None:
    base = epsilon(sigma, rate, steps, 1e-5)
    assert epsilon(sigma * 1.2, rate, steps, 1e-5) <= base
    assert base <= epsilon(sigma, min(1.0, rate * 1.2), steps, 1e-5) + 1e-4
    assert base <= epsilon(sigma, rate, steps + 10, 1e-5)
    assert epsilon(sigma, rate, steps, 1e-4) <= base


@settings(max_examples=8, deadline=None)
@given(
    rate=st.floats(0.001, 1), sigma=st.floats(0.5, 8), steps=st.integers(1, 2000), digits=st.integers(3, 9)
)
def test_the_accountants_are_in_order(rate: float, sigma: float, steps: int, digits: int) -> None:
    history, delta = [(sigma, rate, steps)], 10.0**-digits
    own, claimed, loose = (
        prv.prv_bounds(history, delta),
        composed_epsilon(history, delta),
        rdp.rdp_epsilon(history, delta),
    )
    assert own.lower <= own.upper
    assert own.lower <= claimed <= max(loose, own.upper * 1.02) + 1e-3
    assert own.lower <= loose


def test_order_and_merging_of_a_history_do_not_matter() -> None:
    one, other = (1.0, 0.01, 500), (2.0, 0.05, 100)
    whole = composed_epsilon([one, other], 1e-5)
    assert whole == composed_epsilon([other, (1.0, 0.01, 200), (1.0, 0.01, 300)], 1e-5)
    assert max(composed_epsilon([one], 1e-5), composed_epsilon([other], 1e-5)) < whole


def test_an_accountant_told_a_quarter_of_the_steps_is_seen() -> None:
    assert epsilon(1.1, 256 / 60000, 3516 // 4, 1e-5) == pytest.approx(0.5621, rel=5e-3)
    assert epsilon(0.8 * 1.1, 256 / 60000, 3516, 1e-5) == pytest.approx(1.7768, rel=5e-3)
    assert prv.prv_bounds([(1.1, 256 / 60000, 3516)], 1e-5).lower > epsilon(1.1, 256 / 60000, 3516 // 4, 1e-5)


@pytest.mark.parametrize("delta", [1e-9, 1e-12, 1e-15, 1e-18])
def test_tiny_deltas_are_never_understated(delta: float) -> None:
    exact = gaussian_epsilon(1.0, delta)
    assert exact <= epsilon(10.0, 1, 100, delta) <= exact * 1.01
    assert epsilon(1.1, 256 / 60000, 3516, delta) >= prv.prv_bounds([(1.1, 256 / 60000, 3516)], delta).lower


@pytest.mark.parametrize(
    "history",
    [[(0.01, 0.5, 3)], [(0.5, 1e-4, 10**5)], [(10.0, 1e-5, 10**4)], [(1.0, 0.01, 10), (0.3, 0.5, 10)]],
)
def test_no_step_fills_more_points_than_are_quick(history: list[tuple[float, float, int]]) -> None:
    interval = pld._grid_interval(history)
    for sigma, rate, _ in history:
        assert pld._single_step_pld(sigma, rate, interval)._pmf_remove.size <= 1.1 * pld.MAX_STEP_POINTS


def test_a_bracket_holds_the_truth() -> None:
    found = epsilon_bounds([(2.0, 0.1, 300)], 1e-5)
    assert found.lower <= found.upper <= found.lower * 1.01


def test_a_bracket_that_crosses_is_an_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quintain.dp.accounting.composition.composed_epsilon", lambda history, delta: 0.5)
    with pytest.raises(ContradictionError, match="above the upper one"):
        epsilon_bounds([(2.0, 0.1, 300)], 1e-5)


@pytest.mark.parametrize(
    ("target", "delta", "rate", "steps"),
    [
        (3.0, 1e-5, 512 / 4708, 280),
        pytest.param(0.5, 1e-5, 0.05, 50, marks=pytest.mark.exhaustive),
        pytest.param(8.0, 1e-5, 0.2, 20, marks=pytest.mark.exhaustive),
        (1.0, 1e-5, 256 / 60000, 3516),
        (0.01, 1e-6, 0.01, 1000),
        (50.0, 1e-5, 0.01, 100),
        (1000.0, 1e-5, 0.001, 300),
    ],
)
@pytest.mark.filterwarnings("error")
def test_calibrated_noise_meets_the_target_and_no_more(
    target: float, delta: float, rate: float, steps: int
) -> None:
    sigma = calibrate_noise_multiplier(target, delta, rate, steps)
    assert epsilon(sigma, rate, steps, delta) <= target < epsilon(sigma * 0.99, rate, steps, delta)


@pytest.mark.parametrize(
    ("target", "delta", "sigma"),
    [(1.0, 1e-5, 3.7306), (0.5, 1e-5, 7.0318), (0.1, 1e-6, 36.3047), (8.0, 1e-5, 0.6002)],
)
def test_calibrated_noise_of_one_release_is_the_exact_one(target: float, delta: float, sigma: float) -> None:
    assert sigma * (1 - 1e-4) <= calibrate_noise_multiplier(target, delta, 1.0, 1) <= sigma * 1.005


def test_noise_for_what_is_left_counts_what_is_spent() -> None:
    spent = [(2.0, 0.05, 100)]
    sigma = calibrate_noise_multiplier(3.0, 1e-5, 0.05, 100, history=spent)
    assert sigma > calibrate_noise_multiplier(3.0, 1e-5, 0.05, 100)
    assert 0.98 * 3 <= composed_epsilon([*spent, (sigma, 0.05, 100)], 1e-5) <= 3
    with pytest.raises(SettingError, match="already taken use up"):
        calibrate_noise_multiplier(0.5, 1e-5, 0.05, 100, history=[(1.0, 0.5, 100)])


@pytest.mark.parametrize(
    "arguments",
    [
        (-1.0, 0.1, 1, 1e-5),
        (math.nan, 0.1, 1, 1e-5),
        (1.0, 0.0, 1, 1e-5),
        (1.0, 1.5, 1, 1e-5),
        (1.0, 0.1, -1, 1e-5),
        (1, 0.1, 1, 0),
    ],
)
def test_settings_out_of_range_are_refused(arguments: tuple[float, float, int, float]) -> None:
    with pytest.raises(SettingError, match="expected"):
        epsilon(*arguments)


@pytest.mark.parametrize(
    ("target", "steps"), [(0.0, 10), (math.inf, 10), (1001.0, 10), (1.0, 0), (1e-4, 10**6)]
)
def test_targets_that_cannot_be_met_are_refused(target: float, steps: int) -> None:
    with pytest.raises(SettingError, match="expected"):
        calibrate_noise_multiplier(target, 1e-5, 1.0, steps)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 40.0, 5000.0])
@pytest.mark.parametrize("steps", [1, 7, 10**6, 10**9])
def test_full_batches_have_a_closed_form_however_many_there_are(sigma: float, steps: int) -> None:
    for delta in (1e-3, 1e-10, 1e-18):
        found, exact = (
            epsilon(sigma, 1.0, steps, delta),
            gaussian_epsilon_in_logs(sigma / math.sqrt(steps), delta),
        )
        assert exact <= found <= exact * (1 + 1e-6) + 1e-12


def gaussian_epsilon_in_logs(sigma: float, delta: float) -> float:
    """By bisection over many magnitudes, apart from the code that is tested."""
    low, high = 0.0, 1e14
    for _ in range(400):
        middle = (low + high) / 2
        low, high = (middle, high) if gaussian_log_delta(middle, sigma) > math.log(delta) else (low, middle)
    return low


def test_full_batches_of_different_noise_compose_by_their_inverse_variances() -> None:
    history = [(2.0, 1.0, 3), (5.0, 1.0, 10**6), (2.0, 1.0, 1)]
    exact = gaussian_epsilon(1 / math.sqrt(4 / 4 + 10**6 / 25), 1e-5)
    assert exact <= composed_epsilon(history, 1e-5) <= exact * (1 + 1e-6)
    assert delta_curve(2.0, 1.0, 10**6)(0.0) == pytest.approx(1.0)
    assert delta_curve(2.0, 1.0, 1)(1.0) == pytest.approx(math.exp(gaussian_log_delta(1.0, 2.0)))


def test_a_million_full_batches_beside_sampled_ones_stay_small() -> None:
    """The grid follows the noise of all full batches together, and not that of one."""
    tracemalloc.start()
    both = composed_epsilon([(1.0, 1.0, 10**6), (1.0, 0.01, 10)], 1e-5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert epsilon(1.0, 1.0, 10**6, 1e-5) <= both <= 1.01 * epsilon(1.0, 1.0, 10**6, 1e-5)
    assert peak < 5e8


@pytest.mark.parametrize("sigma", [5e-4, 1e-100, 5e-324])
@pytest.mark.parametrize("rate", [1.0, 0.1])
def test_next_to_no_noise_costs_infinity(sigma: float, rate: float) -> None:
    assert epsilon(sigma, rate, 1, 1e-5) == math.inf
    assert Ledger([Release(sigma, 100, int(100 / rate), 3)]).guarantee(1e-5).epsilon == math.inf
    assert epsilon(MIN_NOISE_MULTIPLIER, rate, 1, 1e-5) < math.inf
