"""Plans for a budget."""

import math

import pytest

from quintain.core.errors import SettingError
from quintain.dp.accounting import calibrate_noise_multiplier, composed_epsilon, epsilon, planning


@pytest.mark.parametrize(
    ("sigma", "rate", "budget"), [(1.1, 256 / 60000, 1.134), (2.0, 0.1, 3.0), (0.5, 0.01, 2.0)]
)
def test_the_steps_left_fit_and_one_more_does_not(sigma: float, rate: float, budget: float) -> None:
    spent = [(4.0, 0.05, 20)]
    left = planning.steps_left(spent, epsilon=budget, delta=1e-5, noise_multiplier=sigma, sample_rate=rate)
    assert composed_epsilon([*spent, (sigma, rate, left)], 1e-5) <= budget
    assert composed_epsilon([*spent, (sigma, rate, left + 1)], 1e-5) > budget


def test_a_spent_budget_has_no_steps_left_and_a_vast_one_the_most() -> None:
    assert (
        planning.steps_left([(1.0, 0.5, 100)], epsilon=1.0, delta=1e-5, noise_multiplier=1.0, sample_rate=0.5)
        == 0
    )
    assert planning.steps_left([], epsilon=1.0, delta=1e-5, noise_multiplier=0.0, sample_rate=0.5) == 0
    vast = planning.steps_left([], epsilon=9.0, delta=1e-5, noise_multiplier=1e5, sample_rate=1.0)
    assert vast == planning.MAX_STEPS


def test_a_grid_of_epsilon_and_a_grid_of_noise() -> None:
    costs = planning.plan_grid(
        num_records=1000, batch_sizes=[10, 50], steps=[10, 40], delta=1e-5, noise_multiplier=2.0
    )
    assert costs.epsilon[1][0] == epsilon(2.0, 0.05, 10, 1e-5)
    assert costs.epsilon[0][0] < costs.epsilon[0][1] < costs.epsilon[1][1]
    assert costs.noise_multiplier == ((2.0, 2.0), (2.0, 2.0))
    noise = planning.plan_grid(
        num_records=1000, batch_sizes=[10, 50], steps=[10, 40], delta=1e-5, epsilon=1.0
    )
    assert noise.noise_multiplier[1][1] == calibrate_noise_multiplier(1.0, 1e-5, 0.05, 40)
    assert all(0.97 <= cost <= 1 for row in noise.epsilon for cost in row)
    assert (noise.batch_sizes, noise.steps, noise.num_records) == ((10, 50), (10, 40), 1000)


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"epsilon": 1.0, "noise_multiplier": 1.0},
        {"epsilon": 1.0, "batch_sizes": [2000]},
        {"epsilon": 1.0, "batch_sizes": [0]},
    ],
)
def test_grids_out_of_range_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(SettingError, match="expected"):
        planning.plan_grid(
            **{"num_records": 1000, "batch_sizes": [10], "steps": [10], "delta": 1e-5, **setting}
        )


@pytest.mark.parametrize("budget", [0.0, -1.0, math.inf, math.nan])
def test_budgets_that_are_none_are_refused(budget: float) -> None:
    with pytest.raises(SettingError, match="expected a positive finite number"):
        planning.steps_left([], epsilon=budget, delta=1e-5, noise_multiplier=1.0, sample_rate=0.1)
