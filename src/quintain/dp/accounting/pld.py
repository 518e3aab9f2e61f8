"""Epsilon of Poisson-sampled Gaussian steps: upper bounds by privacy loss distributions (PLD)."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from quintain.core.errors import SettingError
from quintain.dp.accounting.gaussian import gaussian_epsilon, log_delta, merge_full_batch_steps
from quintain.dp.accounting.privacy_loss import History
from quintain.dp.accounting.prv import merge_history, prv_bounds
from quintain.dp.accounting.rdp import rdp_epsilon

ADJACENCY = "add/remove"
"""Data sets are neighbors if one has one record more."""

GRID_VARIANCE_RATIO = 3e-3
"""Squared grid step over the variance of a step's loss; rounding raises epsilon by about a sixth of it."""
MAX_INTERVAL = 2.0**-8
"""The largest grid step, unless MAX_STEP_POINTS asks for more."""
MAX_STEP_POINTS = 24_000
"""The most grid points for the loss of one step: keeps the grid quick."""
TAIL_SIGMAS = 10.0
"""Standard deviations of noise up to which the range of losses is estimated."""
MIN_NOISE_MULTIPLIER = 1e-3
"""Smaller noise multipliers count as infinite epsilon: a full-batch step costs 500,000 there already."""
DELTA_ROUNDING_PER_STEP = 1e-15
"""Error of delta by rounding in the transforms, for each step."""


def epsilon(noise_multiplier: float, sample_rate: float, steps: int, delta: float) -> float:
    r"""The smallest epsilon that is proved for ``steps`` steps of sampled Gaussian noise.

    .. math:: M_t(D) = \sum_{i \in B_t} \mathrm{clip}_C(g_i) + \sigma C\,\mathcal{N}(0, I),
        \qquad i \in B_t \text{ with probability } q

    Args:
        noise_multiplier: sigma; less than ``MIN_NOISE_MULTIPLIER`` costs infinity.
        sample_rate: q, in (0, 1].
        steps: T; 0 cost nothing.
        delta: In (0, 1).

    Guarantee: an upper bound, rounded up by the pessimistic discretization of the privacy loss distribution;
    for adding or removing one record, all iterates released, and exact Gaussian noise.

    Raises:
        SettingError: If an argument is out of its range.

    Source: Koskela, Jalko, Honkela, 2020, arXiv:1906.03049; Doroshenko et al., 2022, arXiv:2207.04380 (the
    ``dp-accounting`` package).
    """
    return composed_epsilon([(noise_multiplier, sample_rate, steps)], delta)


def composed_epsilon(history: History, delta: float, *, interval: float | None = None) -> float:
    """The smallest epsilon that is proved for several kinds of steps composed on the same records.

    Full-batch steps have a closed form and count as one step among the others. Where delta is so small that
    rounding could matter, or the grid of losses is coarser than 1 (little noise), RDP and the upper bound of
    ``prv`` are computed as well, and the least bound counts.

    Args:
        history: Entries (noise multiplier, sample rate, steps), in any order.
        delta: In (0, 1).
        interval: Step of the grid of privacy losses: a coarser one is faster and gives a larger bound. By
            default fine enough for a tenth of a percent, within half a second.
    """
    check_delta(delta)
    merged = validated_history(history)
    if not merged:
        return 0.0
    if not all_noisy(merged):
        return math.inf
    merged = merge_full_batch_steps(merged)
    if merged[0][1] == 1:  # the merged step stands last: first only if there is no other
        return gaussian_epsilon(merged[0][0], delta)
    # a smaller delta, so that rounding in the transforms cannot make epsilon too small; where rounding takes
    # half of delta, the other accountants answer
    delta_less_rounding = delta - DELTA_ROUNDING_PER_STEP * (sum(steps for _, _, steps in merged) + 100)
    grid_step = interval or _grid_interval(merged)
    pld_epsilon = (
        float(_composed_pld(tuple(merged), grid_step).get_epsilon_for_delta(delta_less_rounding))
        if delta_less_rounding > delta / 2
        else math.inf
    )
    return (
        pld_epsilon
        if pld_epsilon < math.inf and grid_step <= 1
        else min(pld_epsilon, rdp_epsilon(merged, delta), prv_bounds(merged, delta).upper)
    )


def delta_curve(noise_multiplier: float, sample_rate: float, steps: int) -> Callable[[float], float]:
    """The function from epsilon to the smallest proved delta, for steps as in ``epsilon``."""
    merged = validated_history([(noise_multiplier, sample_rate, steps)])
    if not merged:
        return lambda _epsilon: 0.0
    if not all_noisy(merged):
        return lambda _epsilon: 1.0
    merged = merge_full_batch_steps(merged)
    if sample_rate == 1:
        return lambda at: math.exp(log_delta(at, merged[0][0]))
    losses = _composed_pld(tuple(merged), _grid_interval(merged))
    return lambda at: min(
        float(losses.get_delta_for_epsilon(at)) + DELTA_ROUNDING_PER_STEP * (steps + 100), 1.0
    )


def check_delta(delta: float) -> None:
    """Raise unless ``delta`` is a probability strictly between 0 and 1."""
    if not 0 < delta < 1:
        raise SettingError(
            f"got delta = {delta}; expected a number strictly between 0 and 1, well below one over the "
            "records, such as 1e-5"
        )


def validated_history(history: History) -> list[tuple[float, float, int]]:
    """The history with its ranges checked and equal entries merged, without what costs nothing."""
    for sigma, rate, steps in history:
        if not 0 <= sigma < math.inf:
            raise SettingError(f"got a noise multiplier of {sigma}; expected a finite number, at least 0")
        if not 0 < rate <= 1:
            raise SettingError(
                f"got a sample rate of {rate}; expected a probability in (0, 1]: expected batch size over "
                "records"
            )
        if steps < 0:
            raise SettingError(f"got {steps} steps; expected 0 or more")
    return merge_history(history)


def all_noisy(history: History) -> bool:
    """Whether every step has noise enough for a finite claim."""
    return all(sigma >= MIN_NOISE_MULTIPLIER for sigma, _, _ in history)


def _grid_interval(history: History) -> float:
    """The grid step: small against a loss's spread, with at most MAX_STEP_POINTS for one step."""
    # the variance of one step's loss is about q^2 (exp(1 / sigma^2) - 1), and at most about 1 / sigma^2
    variance = sum(
        steps * min(rate**2 * math.expm1(min(sigma**-2, 99)), sigma**-2) for sigma, rate, steps in history
    )
    wanted = min(
        math.sqrt(GRID_VARIANCE_RATIO * variance / sum(steps for _, _, steps in history)), MAX_INTERVAL
    )
    widest = max(_loss_range(sigma, rate) for sigma, rate, _ in history)
    # a power of two, so that the grids of several kinds of steps match
    return 2.0 ** math.floor(math.log2(max(wanted, 2 * widest / MAX_STEP_POINTS)))


def _loss_range(sigma: float, rate: float) -> float:
    """The length of the range of losses, up to TAIL_SIGMAS standard deviations of noise on either side."""
    # highest: the loss at output 1 + TAIL_SIGMAS sigma; lowest: log(1 - q), or the mirror image for q = 1
    top = (TAIL_SIGMAS * sigma + 0.5) / sigma**2
    return (
        2 * top
        if rate == 1
        else max(top + math.log(rate), math.log1p(rate * math.expm1(min(top, 500)))) - math.log1p(-rate)
    )


@lru_cache(maxsize=8)
def _composed_pld(history: tuple[tuple[float, float, int], ...], interval: float) -> Any:
    """The distribution (PLD) of the sum of all losses."""
    plds = [_single_step_pld(sigma, rate, interval).self_compose(steps) for sigma, rate, steps in history]
    total = plds[0]
    for part in plds[1:]:
        total = total.compose(part)
    return total


@lru_cache(maxsize=32)
def _single_step_pld(sigma: float, rate: float, interval: float) -> Any:
    """The distribution (PLD) of one step's loss, in both directions; cached, since it takes longest."""
    from dp_accounting.pld import privacy_loss_distribution

    return privacy_loss_distribution.from_gaussian_mechanism(
        sigma, value_discretization_interval=interval, sampling_prob=rate
    )
