"""The least noise for a target epsilon over epochs, for each way to sample and each kind of noise."""

from collections.abc import Callable
from typing import Literal

from quintain.core.errors import SettingError
from quintain.dp.accounting.calibration import calibrate_noise_multiplier
from quintain.dp.accounting.guarantee import Mechanism
from quintain.dp.accounting.ledger import Ledger
from quintain.dp.accounting.release import Release

MAX_NOISE_MULTIPLIER = 1e6
"""The largest noise multiplier that a search tries."""
NOISE_RELATIVE_TOLERANCE = 5e-3
"""How closely ``bisect_noise_multiplier`` finds the noise multiplier, relatively."""


def calibrate_for_epochs(
    epsilon: float,
    delta: float,
    *,
    num_units: int,
    expected_batch_size: int,
    steps_per_epoch: int,
    epochs: int,
    sampling: Literal["poisson", "shuffle"] = "poisson",
    mechanism: Mechanism = "gaussian",
) -> float:
    """The least noise multiplier whose epochs cost at most ``epsilon`` at ``delta``, as a ledger counts them.

    Args:
        epsilon, delta: The target, never exceeded.
        num_units: Records, or privacy units.
        expected_batch_size: How many of them a step holds on average.
        steps_per_epoch, epochs: How many.
        sampling: A shuffled epoch costs as much as one step on all units.
        mechanism: The noise.

    Raises:
        SettingError: If a number is out of its range, or no noise meets the target.
    """
    batch, steps = (
        (expected_batch_size, epochs * steps_per_epoch) if sampling == "poisson" else (num_units, epochs)
    )
    gaussian = calibrate_noise_multiplier(epsilon, delta, batch / num_units, steps)
    if mechanism == "gaussian":
        return gaussian

    def epsilon_at(sigma: float) -> float:
        return Ledger([Release(sigma, batch, num_units, steps, mechanism=mechanism)]).epsilon(delta)

    return bisect_noise_multiplier(epsilon_at, epsilon, gaussian)


def bisect_noise_multiplier(epsilon_at: Callable[[float], float], target: float, start: float) -> float:
    """The least noise multiplier, up to half a percent, that costs at most ``target``.

    Args:
        epsilon_at: Epsilon as a function of the noise multiplier; must decrease.
        target: The epsilon that is never exceeded.
        start: Where to look first; the answer is at least half of it.

    Raises:
        SettingError: If there is none.
    """
    # double until epsilon is within the target, then bisect between too little noise and enough
    low, high = start / 2, start
    while epsilon_at(high) > target:
        low, high = high, 2 * high
        if high > MAX_NOISE_MULTIPLIER:
            raise SettingError(
                f"no noise multiplier up to {MAX_NOISE_MULTIPLIER:g} reaches epsilon = {target}; expected a "
                "larger epsilon"
            )
    while high - low > NOISE_RELATIVE_TOLERANCE * high:
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon_at(middle) > target else (low, middle)
    return high
