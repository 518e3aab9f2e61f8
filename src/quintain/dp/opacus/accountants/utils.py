"""The noise that a target epsilon needs, by an accountant of one's choice."""

import math
from typing import Any

from quintain.core.errors import SettingError
from quintain.dp.accounting.calibration import calibrate_noise_multiplier
from quintain.dp.accounting.epoch_calibration import MAX_NOISE_MULTIPLIER
from quintain.dp.accounting.pld import validated_history
from quintain.dp.opacus.accountants.registry import create_accountant
from quintain.dp.opacus.refused import missing_name_getattr

__all__ = ["get_noise_multiplier"]
__getattr__ = missing_name_getattr(__name__)


NOISE_RELATIVE_TOLERANCE = 1e-4
"""Relative tolerance of the search for a noise multiplier."""
RATE_ROUNDING = 1e-6
"""Taken off 1 / sample_rate before it is rounded up, so that 1 / n gives n steps an epoch, not n + 1."""


def get_noise_multiplier(
    *,
    target_epsilon: float,
    target_delta: float,
    sample_rate: float,
    epochs: int | None = None,
    steps: int | None = None,
    accountant: str = "pld",
    epsilon_tolerance: float = 0.01,
    **kwargs: Any,
) -> float:
    """The noise multiplier whose steps cost at most ``target_epsilon``, up to a tolerance, by an accountant.

    Args:
        target_epsilon, target_delta: The budget, never exceeded.
        sample_rate: Probability that a record is in a step.
        epochs, steps: One of them; an epoch is ``1 / sample_rate`` steps, rounded up, as a loader makes them
            of its last, smaller batch.
        accountant: Its name.
        epsilon_tolerance: How much of the budget may stay unspent.
        **kwargs: Passed on to the accountant's ``get_epsilon``.

    Raises:
        SettingError: If both or neither of epochs and steps are given, or no noise meets the target.
    """
    if (epochs is None) == (steps is None):
        raise SettingError(f"got epochs = {epochs} and steps = {steps}; expected exactly one of the two")
    if not epsilon_tolerance > 0:
        raise SettingError(
            f"got epsilon_tolerance = {epsilon_tolerance}; expected a positive number, such as 0.01"
        )
    validated_history([(1.0, sample_rate, 0)])
    count = (epochs or 0) * math.ceil(1 / sample_rate - RATE_ROUNDING) if steps is None else steps
    least = calibrate_noise_multiplier(target_epsilon, target_delta, sample_rate, count)
    counting = create_accountant(accountant)

    def epsilon_at(sigma: float) -> float:
        counting.history = [(sigma, sample_rate, count)]
        return counting.get_epsilon(target_delta, **kwargs)

    # the least noise by PLD is a start, since no accountant here is tighter; grow until enough, then bisect
    low, high = 0.9 * least, least
    epsilon_high = epsilon_at(high)
    while epsilon_high > target_epsilon:
        low, high = high, 1.25 * high
        if high > MAX_NOISE_MULTIPLIER:
            raise SettingError(
                f"no noise multiplier up to {MAX_NOISE_MULTIPLIER:g} reaches epsilon = {target_epsilon}; "
                "expected a larger epsilon"
            )
        epsilon_high = epsilon_at(high)
    while epsilon_high < target_epsilon - epsilon_tolerance and high - low > NOISE_RELATIVE_TOLERANCE * high:
        middle = (low + high) / 2
        epsilon_middle = epsilon_at(middle)
        if epsilon_middle > target_epsilon:
            low = middle
        else:
            high, epsilon_high = middle, epsilon_middle
    return high
