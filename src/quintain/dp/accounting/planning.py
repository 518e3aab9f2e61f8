"""Plans for a privacy budget: epsilon or noise over batch sizes and steps, and the steps that are left."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from quintain.core.errors import SettingError
from quintain.dp.accounting import calibrate_noise_multiplier, composed_epsilon
from quintain.dp.accounting.privacy_loss import History
from quintain.dp.accounting.prv import estimate_epsilon

MAX_STEPS = 1 << 24
LOG2_STEPS_TOLERANCE = 2e-3


@dataclass(frozen=True, slots=True)
class PlanGrid:
    """Epsilon and noise for each batch size and number of steps.

    Args:
        batch_sizes, steps: The axes.
        epsilon: Rows by batch, columns by steps.
        noise_multiplier: The same; equal everywhere where noise was given.
        delta: At which epsilon is stated.
        num_records: Of the data.
    """

    batch_sizes: tuple[int, ...]
    steps: tuple[int, ...]
    epsilon: tuple[tuple[float, ...], ...]
    noise_multiplier: tuple[tuple[float, ...], ...]
    delta: float
    num_records: int


def steps_left(
    history: History, *, epsilon: float, delta: float, noise_multiplier: float, sample_rate: float
) -> int:
    """How many further steps fit into a budget of epsilon after ``history``; at most 2^24.

    Args:
        history: Entries (noise multiplier, sample rate, steps) of steps already taken.
        epsilon, delta: The budget.
        noise_multiplier, sample_rate: Of the steps to come.

    Raises:
        SettingError: If an argument is out of its range.
    """

    if not 0 < epsilon < math.inf:
        raise SettingError(f"got a budget of epsilon = {epsilon}; expected a positive finite number")

    def with_further(steps: int) -> History:
        return [*history, (noise_multiplier, sample_rate, steps)]

    def fits(steps: int) -> bool:
        return composed_epsilon(with_further(steps), delta) <= epsilon

    if not fits(1):
        return 0
    if estimate_epsilon(with_further(MAX_STEPS), delta) <= epsilon and fits(MAX_STEPS):
        return MAX_STEPS
    # 1. bisect log2 of the number by the quick estimate
    log2_low, log2_high = 0.0, math.log2(MAX_STEPS)
    while log2_high - log2_low > LOG2_STEPS_TOLERANCE:
        middle = (log2_low + log2_high) / 2
        log2_low, log2_high = (
            (middle, log2_high)
            if estimate_epsilon(with_further(round(2**middle)), delta) <= epsilon
            else (log2_low, middle)
        )
    # 2. from there gallop by the proved epsilon until both ends are known; 3. bisect between them
    low, high = 1, MAX_STEPS
    guess, stride = round(2**log2_low), max(1, round(2**log2_low * LOG2_STEPS_TOLERANCE / 2))
    while high - low > 1:
        guess = min(max(guess, low + 1), high - 1)
        if fits(guess):
            low = guess
        else:
            high = guess
        bracketed = low > 1 and high < MAX_STEPS
        guess = (low + high) // 2 if bracketed else low + stride if low > 1 else high - stride
        stride = stride if bracketed else 2 * stride
    return low


def plan_grid(
    *,
    num_records: int,
    batch_sizes: Sequence[int],
    steps: Sequence[int],
    delta: float,
    noise_multiplier: float | None = None,
    epsilon: float | None = None,
) -> PlanGrid:
    """Epsilon for a noise multiplier, or the noise multiplier for an epsilon, over batches and steps.

    Args:
        num_records: Of the data.
        batch_sizes: Expected batch sizes, each at most ``num_records``.
        steps: Numbers of steps.
        delta: In (0, 1).
        noise_multiplier, epsilon: One of them.

    Raises:
        SettingError: If both or neither are given, or a number is out of its range.
    """
    if (noise_multiplier is None) == (epsilon is None):
        raise SettingError("got both or neither of noise_multiplier and epsilon; expected exactly one")
    _check_batches(batch_sizes, num_records)

    def sigma(batch: int, count: int) -> float:
        return (
            calibrate_noise_multiplier(epsilon, delta, batch / num_records, count)
            if epsilon is not None
            else float(noise_multiplier or 0)
        )

    noise = tuple(tuple(sigma(batch, count) for count in steps) for batch in batch_sizes)
    costs = tuple(
        tuple(
            composed_epsilon([(one, batch / num_records, count)], delta)
            for one, count in zip(row, steps, strict=True)
        )
        for batch, row in zip(batch_sizes, noise, strict=True)
    )
    return PlanGrid(
        batch_sizes=tuple(batch_sizes),
        steps=tuple(steps),
        epsilon=costs,
        noise_multiplier=noise,
        delta=delta,
        num_records=num_records,
    )


def _check_batches(batch_sizes: Sequence[int], num_records: int) -> None:
    for batch in batch_sizes:
        if not 1 <= batch <= num_records:
            raise SettingError(
                f"got an expected batch of {batch} out of {num_records} records; expected 1 to {num_records}"
            )
