"""Plans for a budget: noise for an epsilon, steps that are left, and which batch, steps and noise promise the best model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from quintain.core.errors import SettingError
from quintain.dp.accounting import composed_epsilon, noise_for
from quintain.dp.accounting.losses import History
from quintain.dp.accounting.prv import estimate

MOST_STEPS = 1 << 24
NEAR = 2e-3


@dataclass(frozen=True, slots=True)
class Choice:
    """A batch, a number of steps, and the least noise that they may have.

    Args:
        expected_batch_size, steps: The setting.
        noise_multiplier: sigma, the least for the budget.
        signal: What ``best`` compares: higher promises a better model; a heuristic.
    """

    expected_batch_size: int
    steps: int
    noise_multiplier: float
    signal: float


@dataclass(frozen=True, slots=True)
class PlanGrid:
    """What each batch and number of steps costs, or the noise it needs.

    Args:
        batches, steps: The axes.
        epsilon: Rows by batch, columns by steps.
        noise_multiplier: The same; equal everywhere where noise was given.
        delta: At which epsilon is stated.
        records: n.
    """

    batches: tuple[int, ...]
    steps: tuple[int, ...]
    epsilon: tuple[tuple[float, ...], ...]
    noise_multiplier: tuple[tuple[float, ...], ...]
    delta: float
    records: int


def steps_left(history: History, *, epsilon: float, delta: float, noise_multiplier: float, sample_rate: float) -> int:
    """The most further steps whose cost, with that of ``history``, is at most ``epsilon``; at most 2^24.

    Args:
        history: Runs (noise multiplier, sample rate, steps) already taken.
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
    if estimate(with_further(MOST_STEPS), delta) <= epsilon and fits(MOST_STEPS):
        return MOST_STEPS
    short, long = 0.0, math.log2(MOST_STEPS)
    while long - short > NEAR:
        middle = (short + long) / 2
        short, long = (middle, long) if estimate(with_further(round(2**middle)), delta) <= epsilon else (short, middle)
    enough, over = 1, MOST_STEPS
    guess, stride = round(2**short), max(1, round(2**short * NEAR / 2))
    while over - enough > 1:
        guess = min(max(guess, enough + 1), over - 1)
        if fits(guess):
            enough = guess
        else:
            over = guess
        near = enough > 1 and over < MOST_STEPS
        guess = (enough + over) // 2 if near else enough + stride if enough > 1 else over - stride
        stride = stride if near else 2 * stride
    return enough


def grid(
    *,
    records: int,
    batches: Sequence[int],
    steps: Sequence[int],
    delta: float,
    noise_multiplier: float | None = None,
    epsilon: float | None = None,
) -> PlanGrid:
    """Epsilon for a noise multiplier, or the noise multiplier for an epsilon, over batches and steps.

    Args:
        records: n.
        batches: Expected batch sizes, each at most ``records``.
        steps: Numbers of steps.
        delta: In (0, 1).
        noise_multiplier, epsilon: One of them.

    Raises:
        SettingError: If both or neither are given, or a number is out of its range.
    """
    if (noise_multiplier is None) == (epsilon is None):
        raise SettingError("got both or neither of noise_multiplier and epsilon; expected exactly one")
    _check_batches(batches, records)

    def sigma(batch: int, count: int) -> float:
        return noise_for(epsilon, delta, batch / records, count) if epsilon is not None else float(noise_multiplier or 0)

    noise = tuple(tuple(sigma(batch, count) for count in steps) for batch in batches)
    costs = tuple(
        tuple(composed_epsilon([(one, batch / records, count)], delta) for one, count in zip(row, steps, strict=True))
        for batch, row in zip(batches, noise, strict=True)
    )
    return PlanGrid(tuple(batches), tuple(steps), costs, noise, delta, records)


def best(
    *, epsilon: float, delta: float, records: int, batches: Sequence[int], steps: Sequence[int], most_examples: float = math.inf
) -> Choice:
    r"""The setting of those offered that promises the best model for a budget: a heuristic, to be checked by training.

    .. math:: \mathrm{signal} = \frac{b \sqrt{T}}{\sigma(b, T)}

    the length of T aligned clipped gradients of one direction over the length of their noise in it. At a fixed epsilon, that grows with
    the batch as long as noise, not the number of steps, is what holds training back; larger batches cost more work.

    Args:
        epsilon, delta: The budget.
        records: n.
        batches, steps: What to choose from.
        most_examples: Examples that training may process, batch times steps.

    Raises:
        SettingError: If nothing is offered that keeps within ``most_examples``, or a number is out of its range.

    Source: Ponomareva et al., 2023, arXiv:2303.00654, section 5; De et al., 2022, arXiv:2204.13650 (noise per batch, large batches).
    """
    _check_batches(batches, records)
    offered = [(batch, count) for batch in batches for count in steps if batch * count <= most_examples]
    if not offered:
        raise SettingError(
            f"got no batch and steps of at most {most_examples:g} examples; expected smaller ones, or a larger budget of work"
        )
    choices = []
    for batch, count in offered:
        sigma = noise_for(epsilon, delta, batch / records, count)
        choices.append(Choice(batch, count, sigma, batch * math.sqrt(count) / sigma))
    return max(choices, key=lambda choice: choice.signal)


def _check_batches(batches: Sequence[int], records: int) -> None:
    for batch in batches:
        if not 1 <= batch <= records:
            raise SettingError(f"got an expected batch of {batch} out of {records} records; expected 1 to {records}")
