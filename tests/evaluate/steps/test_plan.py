"""What a plan may spend."""

from quintain.evaluate.steps.plan import run_plan
from tests.evaluate.support.private_blobs import QUICK


def test_more_noise_buys_more_steps():
    few, many = (
        run_plan(QUICK, 600, noise_multiplier=noise, batch_sizes=(30,)).result for noise in (1.0, 2.0)
    )
    assert few.steps_within_budget < many.steps_within_budget
    assert few.plan.epsilon > many.plan.epsilon
    assert few.noise_grid == many.noise_grid
    assert all(row == tuple(sorted(row)) for row in (*few.noise_grid, *few.epsilon_grid))
