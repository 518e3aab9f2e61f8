"""The accountant against closed forms and published values."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import ndtr

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp import Ledger, Release, delta_curve, epsilon, noise_for


def gaussian_delta(eps: float, sigma: float) -> float:
    """Exact delta of the Gaussian mechanism of sensitivity 1 (Balle and Wang, 2018)."""
    return float(ndtr(0.5 / sigma - eps * sigma) - math.exp(eps) * ndtr(-0.5 / sigma - eps * sigma))


def gaussian_epsilon(sigma: float, delta: float) -> float:
    return brentq(lambda eps: gaussian_delta(eps, sigma) - delta, 0, 100)


@pytest.mark.parametrize(("sigma", "steps"), [(0.5, 1), (1, 1), (2, 1), (10, 100), (5, 1), (4, 7)])
def test_without_sampling_it_is_the_exact_gaussian(sigma: float, steps: int) -> None:
    exact = gaussian_epsilon(sigma / math.sqrt(steps), 1e-5)
    assert exact <= epsilon(sigma, 1, steps, 1e-5) <= exact * 1.001


@pytest.mark.parametrize(
    ("rate", "sigma", "steps", "delta", "value"),
    [
        (256 / 60000, 1.1, 3516, 1e-5, 1.1339),
        (0.01, 4, 10000, 1e-5, 0.9470),
        (4096 / 50000, 3, 875, 1e-5, 3.6016),
        (0.5, 10, 100, 1e-5, 2.0153),
        (512 / 4708, 2, 276, 1e-4, 3.7822),
        (64 / 4708, 1, 735, 1e-4, 1.8224),
    ],
)
def test_published_values(rate: float, sigma: float, steps: int, delta: float, value: float) -> None:
    assert epsilon(sigma, rate, steps, delta) == pytest.approx(value, abs=1e-4)


def test_the_first_values_of_a_curve_are_closed_forms() -> None:
    curve = delta_curve(2.0, 1.0, 1)
    assert curve(0.0) == pytest.approx(2 * float(ndtr(0.25)) - 1, rel=1e-3)
    assert curve(1.0) == pytest.approx(gaussian_delta(1.0, 2.0), rel=1e-2)
    assert gaussian_delta(1.0, 2.0) <= curve(1.0)


def test_no_steps_cost_nothing_and_no_noise_everything() -> None:
    assert epsilon(1.0, 0.1, 0, 1e-5) == 0
    assert epsilon(0.0, 0.1, 1, 1e-5) == math.inf
    assert epsilon(0.0, 0.1, 0, 1e-5) == 0
    assert delta_curve(0.0, 0.1, 1)(5.0) == 1
    assert delta_curve(1.0, 0.1, 0)(0.0) == 0


@settings(max_examples=2, deadline=None)
@given(rate=st.floats(0.01, 0.5), sigma=st.floats(2, 5), steps=st.integers(1, 100))
def test_it_is_monotone(rate: float, sigma: float, steps: int) -> None:
    base = epsilon(sigma, rate, steps, 1e-5)
    assert epsilon(sigma * 1.2, rate, steps, 1e-5) <= base
    assert base <= epsilon(sigma, min(1.0, rate * 1.2), steps, 1e-5) + 1e-4
    assert base <= epsilon(sigma, rate, steps + 10, 1e-5)
    assert epsilon(sigma, rate, steps, 1e-4) <= base


@pytest.mark.parametrize(("target", "rate", "steps"), [(3.0, 512 / 4708, 280), (0.5, 0.05, 50), (8.0, 0.2, 20)])
def test_calibrated_noise_meets_the_target_and_no_more(target: float, rate: float, steps: int) -> None:
    sigma = noise_for(target, 1e-5, rate, steps)
    assert target * 0.98 <= epsilon(sigma, rate, steps, 1e-5) <= target


def test_calibrated_noise_of_one_release_is_the_exact_one() -> None:
    assert noise_for(1.0, 1e-5, 1.0, 1) == pytest.approx(3.7306, rel=5e-3)


@pytest.mark.parametrize(
    "arguments",
    [(-1.0, 0.1, 1, 1e-5), (math.nan, 0.1, 1, 1e-5), (1.0, 0.0, 1, 1e-5), (1.0, 1.5, 1, 1e-5), (1.0, 0.1, -1, 1e-5), (1, 0.1, 1, 0)],
)
def test_settings_out_of_range_are_refused(arguments: tuple[float, float, int, float]) -> None:
    with pytest.raises(SettingError, match="expected"):
        epsilon(*arguments)


@pytest.mark.parametrize(("target", "steps"), [(0.0, 10), (math.inf, 10), (1.0, 0), (1e-4, 10**6)])
def test_targets_that_cannot_be_met_are_refused(target: float, steps: int) -> None:
    with pytest.raises(SettingError, match="expected"):
        noise_for(target, 1e-5, 1.0, steps)


def test_a_ledger_merges_equal_neighbours_and_its_order_does_not_matter() -> None:
    first, second = Release(2.0, 10, 100), Release(3.0, 20, 100, 5)
    ledger, other = Ledger(), Ledger([second])
    for release in (first, first, second):
        ledger.record(release)
    other.record(Release(2.0, 10, 100, 2))
    assert ledger.releases == (Release(2.0, 10, 100, 2), second)
    assert ledger.steps == other.steps == 7
    assert ledger.epsilon(1e-5) == pytest.approx(other.epsilon(1e-5), rel=1e-9)


def test_a_ledger_never_forgets() -> None:
    ledger = Ledger([Release(2.0, 10, 100, 3)])
    state = ledger.state_dict()
    fresh = Ledger()
    fresh.load_state_dict(state)
    assert fresh.releases == ledger.releases
    ledger.record(Release(2.0, 10, 100))
    with pytest.raises(PrivacyError, match="already spent"):
        ledger.load_state_dict(state)
    with pytest.raises(PrivacyError, match="lacks 4 of those already spent"):
        ledger.load_state_dict(Ledger([Release(100.0, 10, 100, 9)]).state_dict())
    longer = Ledger([Release(3.0, 10, 100), Release(2.0, 10, 100, 5)])
    ledger.load_state_dict(longer.state_dict())
    assert ledger.releases == longer.releases
    with pytest.raises(PrivacyError, match="without readable releases"):
        fresh.load_state_dict({"history": []})
