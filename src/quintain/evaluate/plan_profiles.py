"""The accountant's privacy profiles of a plan, as an audit tests them: leakage never sees the accountant."""

import numpy as np

from quintain.dp import PrivatePlan, accounting
from quintain.dp.accounting import prv
from quintain.leakage import ProfileFamily

NOISE_RATIOS = (
    *(5.0, 4.0, 3.2, 2.6, 2.2, 1.9, 1.65, 1.45, 1.3, 1.2, 1.1, 1.04),
    *(1.0, 0.98, 0.94, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5),
)
"""Noise of the profiles over that of the plan, fixed beforehand; 1 is the claim itself."""

_SMALLEST_VALUE_STEP = 1e-9
_EPSILONS = 100
_ROUNDING = 1e-9


def plan_profiles(plan: PrivatePlan, num_records: int) -> ProfileFamily:
    """Return the profile that the accountant proves of a plan, among those of the plan with other noise.

    Args:
        plan: The plan, with noise.
        num_records: Number of training records.

    Guarantee: each delta is an upper bound on that of its mechanism (PLD, pessimistic), so that no mechanism
    that keeps to its plan is refuted more often than the audit says; each value is a lower bound on the
    mechanism's epsilon (PRV). A value above the plan's claimed epsilon is that of a plan with less noise, all
    that the claim allows is allowed by it, too.
    """
    rate, claimed = plan.sample_rate(num_records), plan.epsilon(num_records)
    grid = np.concatenate([[0.0], np.geomspace(0.02, 4 * max(claimed, 1.0), _EPSILONS)])
    values: list[float] = []
    deltas: list[list[float]] = []
    for ratio in NOISE_RATIOS:
        sigma = plan.noise_multiplier * ratio
        curve = accounting.delta_curve(sigma, rate, plan.steps)
        value = prv.prv_bounds([(sigma, rate, plan.steps)], plan.delta).lower
        if values and value <= values[-1] + _SMALLEST_VALUE_STEP:
            continue
        values.append(value)
        deltas.append([min(1.0, curve(float(epsilon)) * (1 + _ROUNDING)) for epsilon in grid])
    return ProfileFamily(np.array(values), grid, np.array(deltas))
