"""Our own accountant: both sides against closed forms, brute force and published values."""

import math

import numpy as np
import pytest
from scipy.special import ndtr

from quintain.dp.accounting import prv
from quintain.dp.accounting.privacy_loss import CumulantFunction, PrivacyLoss
from tests.dp.support.figures import ROWS, gaussian_epsilon


@pytest.mark.parametrize(("rate", "sigma", "steps", "delta", "value", "_rdp"), ROWS)
def test_published_values_lie_between_the_sides(
    rate: float, sigma: float, steps: int, delta: float, value: float, _rdp: float
) -> None:
    found = prv.prv_bounds([(sigma, rate, steps)], delta)
    assert found.lower <= value + 1e-4
    assert value - 1e-4 <= found.upper
    assert found.upper <= found.lower * 1.012
    assert prv.estimate_epsilon([(sigma, rate, steps)], delta) == pytest.approx(value, rel=3e-3)


@pytest.mark.parametrize(
    ("sigma", "steps", "delta"),
    [
        (1, 1, 1e-18),
        (10, 100, 1e-18),
        (0.5, 1, 1e-12),
        (0.1, 1, 1e-5),
        (0.1, 100, 1e-5),
        (0.02, 10, 1e-5),
        (100, 50, 1e-10),
        (1, 1, 0.3),
    ],
)
def test_without_sampling_the_exact_gaussian_lies_between_them(
    sigma: float, steps: int, delta: float
) -> None:
    found = prv.prv_bounds([(sigma, 1.0, steps)], delta)
    assert (
        found.lower <= gaussian_epsilon(sigma / math.sqrt(steps), delta) <= found.upper <= found.lower * 1.06
    )


def test_one_sampled_step_lies_between_them() -> None:
    sigma, rate, delta = 0.8, 0.2, 1e-4

    def exact(eps: float) -> float:
        bar = math.log((math.exp(eps) - (1 - rate)) / rate) * sigma**2 + 0.5
        with_record = (1 - rate) * ndtr(-bar / sigma) + rate * ndtr((1 - bar) / sigma)
        return float(with_record - math.exp(eps) * ndtr(-bar / sigma))

    found = prv.prv_bounds([(sigma, rate, 1)], delta)
    assert exact(found.upper) <= delta <= exact(found.lower)


def test_runs_of_different_noise_are_composed_in_any_order() -> None:
    runs = [(1.0, 1.0, 2), (2.0, 1.0, 3), (5.0, 1.0, 10)]
    exact = gaussian_epsilon(1 / math.sqrt(2 + 3 / 4 + 10 / 25), 1e-6)
    assert prv.prv_bounds(runs, 1e-6).lower <= exact <= prv.prv_bounds(runs, 1e-6).upper
    mixed = [(1.0, 0.01, 100), (2.0, 0.05, 30), (1.0, 0.01, 50)]
    assert prv.prv_bounds(mixed, 1e-6) == prv.prv_bounds([mixed[1], (1.0, 0.01, 150)], 1e-6)


def test_no_steps_and_no_noise() -> None:
    assert prv.prv_bounds([(1.0, 0.1, 0)], 1e-5) == prv.EpsilonBounds(0, 0)
    assert prv.prv_bounds([(0.0, 0.1, 1)], 1e-5) == prv.EpsilonBounds(math.inf, math.inf)


@pytest.mark.parametrize(
    ("sigma", "rate", "steps", "delta"),
    [
        (0.005, 0.01, 10, 1e-5),
        (0.02, 0.01, 10, 1e-5),
        (0.3, 0.999, 50, 1e-5),
        (3, 1e-6, 1, 1e-5),
        (10, 1e-5, 1000, 1e-9),
        (0.5, 0.01, 9, 1e-18),
    ],
)
def test_where_it_cannot_answer_the_sides_are_wide_and_not_wrong(
    sigma: float, rate: float, steps: int, delta: float
) -> None:
    found = prv.prv_bounds([(sigma, rate, steps)], delta)
    alone = gaussian_epsilon(sigma / math.sqrt(steps), delta)
    assert 0 <= found.lower <= found.upper
    assert found.lower <= alone


def test_a_coarser_grid_is_wider() -> None:
    fine, coarse = (
        prv.prv_bounds([(2.0, 0.1, 100)], 1e-5, grid_error=share)
        for share in (prv.BOUND_GRID_ERROR, 10 * prv.BOUND_GRID_ERROR)
    )
    assert coarse.lower < fine.lower < fine.upper < coarse.upper
    crowded = prv.prv_bounds([(2.0, 0.1, 100)], 1e-5, max_points=2000)
    assert crowded.lower < coarse.lower < coarse.upper < crowded.upper


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize(("sigma", "rate"), [(1.0, 0.1), (0.3, 0.01), (4.0, 1.0), (0.5, 0.9)])
def test_losses_invert_and_their_probabilities_are_those_of_outputs(
    sigma: float, rate: float, added: bool
) -> None:
    loss = PrivacyLoss(sigma, rate, added, 8.0)
    x = np.linspace(0.5 - 2 * sigma, 0.5 + 4 * sigma, 50)
    flat = sigma**2 * np.log(rate) + 30 * sigma**2
    seen = x > 0.5 - flat
    assert loss.output_at(loss.loss_at(x))[seen] == pytest.approx(x[seen], rel=1e-6, abs=1e-6)
    edges = np.linspace(*loss.loss_range(), 400)
    mass = loss.cell_probabilities(edges)
    assert (mass >= 0).all()
    assert mass.sum() == pytest.approx(1, abs=1e-9)
    losses, weights = loss.quadrature()
    assert np.exp(weights).sum() == pytest.approx(1, abs=1e-12)
    middles = (edges[1:] + edges[:-1]) / 2
    assert float(np.exp(weights) @ losses) == pytest.approx(
        float(mass @ middles), abs=float(np.diff(edges).max())
    )


def test_cumulants_are_those_of_renyi_divergences() -> None:
    kept = CumulantFunction([(PrivacyLoss(2.0, 0.1, False, 14.0), 7)])
    for order in (2, 3, 5):
        exact = sum(
            math.comb(order, k) * 0.9 ** (order - k) * 0.1**k * math.exp((k * k - k) / 8)
            for k in range(order + 1)
        )
        assert kept(order - 1.0)[0] == pytest.approx(7 * math.log(exact), rel=1e-9)
    alone = CumulantFunction([(PrivacyLoss(2.0, 1.0, True, 14.0), 1)])
    assert alone(1.5)[:2] == pytest.approx((1.5 * 2.5 / 8, (1 + 3) / 8), rel=1e-9)
