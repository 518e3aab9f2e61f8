"""Plan private training: the noise and the number of steps for a privacy target, without any training."""

import math
from functools import partial

from quintain.core.errors import SettingError
from quintain.dp.accounting.planning import plan_grid, steps_left
from quintain.evaluate.privacy_target import PrivacyTarget, delta_warnings, plan_record
from quintain.evaluate.step import StepOutput
from quintain.results.privacy_records import PlanResult

STEP_MULTIPLES = (0.25, 1, 4)
"""Columns of a plan's grids, as multiples of the target's number of steps."""
BATCH_MULTIPLES = (0.25, 0.5, 1, 2, 4)
"""Rows of a plan's grids, as multiples of the target's batch size."""


def run_plan(
    target: PrivacyTarget,
    records: int,
    *,
    noise_multiplier: float | None = None,
    batch_sizes: tuple[int, ...] = (),
) -> StepOutput:
    """Plan without training: noise, steps within the budget, and both over a grid of batch sizes and steps.

    Args:
        target: The epsilon and delta, and the batch size and steps to look at.
        records: Number of records, which is public.
        noise_multiplier: The noise to look at; by default the least that keeps the target.
        batch_sizes: Rows of the grid; by default multiples of the target's batch size.

    Raises:
        SettingError: If a number is out of its range.
    """
    if noise_multiplier is not None and not 0 < noise_multiplier < math.inf:
        raise SettingError(
            f"got noise-multiplier {noise_multiplier}; expected a positive finite number, such as 1.1"
        )
    plan = target.plan(records, noise=noise_multiplier)
    sigma, sample_rate = plan.noise_multiplier, plan.sample_rate(records)
    multiples = {max(1, min(records, round(target.batch_size * factor))) for factor in BATCH_MULTIPLES}
    rows = tuple(sorted({*batch_sizes, target.batch_size} if batch_sizes else multiples))
    columns = tuple(sorted({max(1, round(target.steps * factor)) for factor in STEP_MULTIPLES}))
    grid = partial(plan_grid, num_records=records, batch_sizes=rows, steps=columns, delta=target.delta)
    result = PlanResult(
        plan=plan_record(plan, records),
        target_epsilon=target.epsilon,
        dataset_size=records,
        steps_within_budget=steps_left(
            (), epsilon=target.epsilon, delta=target.delta, noise_multiplier=sigma, sample_rate=sample_rate
        ),
        batch_sizes=rows,
        step_counts=columns,
        noise_grid=grid(epsilon=target.epsilon).noise_multiplier,
        epsilon_grid=grid(noise_multiplier=sigma).epsilon,
        warnings=delta_warnings(target.delta, records),
    )
    return StepOutput(result, notes=result.warnings)
