"""Epsilon of Poisson-sampled Gaussian steps as it is claimed: upper bounds by privacy loss distributions."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from quintain.core.errors import SettingError
from quintain.dp.accounting.gaussian import gaussian_epsilon, log_delta, one_step
from quintain.dp.accounting.losses import History
from quintain.dp.accounting.prv import bracket, merged
from quintain.dp.accounting.rdp import rdp_epsilon

ADJACENCY = "add/remove"
"""Data sets are neighbours if one has one record more."""

EXCESS = 3e-3
"""Squared grid step over the variance of a step's loss: what rounding adds to epsilon is about a sixth of it, relatively."""
COARSEST = 2.0**-8
"""The largest grid step, unless MOST_POINTS asks for more."""
MOST_POINTS = 24_000
"""The most grid points for the loss of one step: keeps the grid quick."""
DEEPEST = 10.0
"""Standard deviations of noise up to which the range of losses is estimated."""
LEAST_NOISE = 1e-3
"""Noise multipliers below this are claimed to cost infinity: one step on all records costs 500,000 there, and numbers overflow soon."""
ROUNDING = 1e-15
"""Error of delta by rounding in the transforms, for each step."""


def epsilon(noise_multiplier: float, sample_rate: float, steps: int, delta: float) -> float:
    r"""The smallest epsilon that is proved for ``steps`` steps of sampled Gaussian noise.

    .. math:: M_t(D) = \sum_{i \in B_t} \mathrm{clip}_C(g_i) + \sigma C\,\mathcal{N}(0, I), \qquad i \in B_t \text{ with probability } q

    Args:
        noise_multiplier: sigma; less than ``LEAST_NOISE`` costs infinity.
        sample_rate: q, in (0, 1].
        steps: T; 0 cost nothing.
        delta: In (0, 1).

    Guarantee: an upper bound, rounded up by the pessimistic discretisation of the privacy loss distribution; for adding or removing one
    record, all iterates released, and exact Gaussian noise.

    Raises:
        SettingError: If an argument is out of its range.

    Source: Koskela, Jalko, Honkela, 2020, arXiv:1906.03049; Doroshenko et al., 2022, arXiv:2207.04380 (the ``dp-accounting`` package).
    """
    return composed_epsilon([(noise_multiplier, sample_rate, steps)], delta)


def composed_epsilon(history: History, delta: float, *, interval: float | None = None) -> float:
    """``epsilon`` of several runs of steps (noise multiplier, sample rate, steps) after one another on the same records.

    Steps on all records, with whatever noise, have a closed form, and count as one step among others. Where
    delta is so small that rounding could matter, or the grid of losses is coarser than 1 (little noise),
    Renyi divergences and the upper side of ``prv`` are computed as well, and the least bound counts.

    Args:
        history: In any order.
        delta: In (0, 1).
        interval: Of the grid of privacy losses: a coarser one is faster and gives a larger bound. By default fine enough for a tenth of a
            percent, within half a second.
    """
    check_delta(delta)
    spent = checked(history)
    if not spent:
        return 0.0
    if not noisy(spent):
        return math.inf
    spent = one_step(spent)
    if spent[0][1] == 1:  # the merged step stands last: first only if there is no other
        return gaussian_epsilon(spent[0][0], delta)
    # ask for a smaller delta, so that rounding in the transforms cannot make epsilon too small
    sure = delta - ROUNDING * (sum(steps for _, _, steps in spent) + 100)
    mesh = interval or _interval(spent)
    found = float(_composed(tuple(spent), mesh).get_epsilon_for_delta(sure)) if sure > delta / 2 else math.inf
    return found if found < math.inf and mesh <= 1 else min(found, rdp_epsilon(spent, delta), bracket(spent, delta).upper)


def delta_curve(noise_multiplier: float, sample_rate: float, steps: int) -> Callable[[float], float]:
    """The function from epsilon to the smallest proved delta, for steps as in ``epsilon``."""
    spent = checked([(noise_multiplier, sample_rate, steps)])
    if not spent:
        return lambda _epsilon: 0.0
    if not noisy(spent):
        return lambda _epsilon: 1.0
    spent = one_step(spent)
    if sample_rate == 1:
        return lambda at: math.exp(log_delta(at, spent[0][0]))
    losses = _composed(tuple(spent), _interval(spent))
    return lambda at: min(float(losses.get_delta_for_epsilon(at)) + ROUNDING * (steps + 100), 1.0)


def check_delta(delta: float) -> None:
    """Raise unless ``delta`` is a probability strictly between 0 and 1."""
    if not 0 < delta < 1:
        raise SettingError(
            f"got delta = {delta}; expected a number strictly between 0 and 1, well below one over the records, such as 1e-5"
        )


def checked(history: History) -> list[tuple[float, float, int]]:
    """The runs that cost something, merged."""
    for sigma, rate, steps in history:
        if not 0 <= sigma < math.inf:
            raise SettingError(f"got a noise multiplier of {sigma}; expected a finite number, at least 0")
        if not 0 < rate <= 1:
            raise SettingError(f"got a sample rate of {rate}; expected a probability in (0, 1]: expected batch size over records")
        if steps < 0:
            raise SettingError(f"got {steps} steps; expected 0 or more")
    return merged(history)


def noisy(history: History) -> bool:
    """Whether every run has noise enough for a finite claim."""
    return all(sigma >= LEAST_NOISE for sigma, _, _ in history)


def _interval(history: History) -> float:
    """The grid step, a power of two: small against a loss's spread, with at most MOST_POINTS for one step."""
    # the variance of one step's loss is about q^2 (exp(1 / sigma^2) - 1), and at most about 1 / sigma^2
    variance = sum(steps * min(rate**2 * math.expm1(min(sigma**-2, 99)), sigma**-2) for sigma, rate, steps in history)
    wanted = min(math.sqrt(EXCESS * variance / sum(steps for _, _, steps in history)), COARSEST)
    span = max(_span(sigma, rate) for sigma, rate, _ in history)
    return 2.0 ** math.floor(math.log2(max(wanted, 2 * span / MOST_POINTS)))


def _span(sigma: float, rate: float) -> float:
    """The distance between the losses at DEEPEST standard deviations of noise on either side."""
    top = (DEEPEST * sigma + 0.5) / sigma**2
    return 2 * top if rate == 1 else max(top + math.log(rate), math.log1p(rate * math.expm1(min(top, 500)))) - math.log1p(-rate)


@lru_cache(maxsize=8)
def _composed(history: tuple[tuple[float, float, int], ...], interval: float) -> Any:
    """The distribution of the sum of all losses."""
    parts = [_step(sigma, rate, interval).self_compose(steps) for sigma, rate, steps in history]
    total = parts[0]
    for part in parts[1:]:
        total = total.compose(part)
    return total


@lru_cache(maxsize=32)
def _step(sigma: float, rate: float, interval: float) -> Any:
    """The distribution of one step's loss, in both directions; cached, since it takes longest."""
    from dp_accounting.pld import privacy_loss_distribution

    return privacy_loss_distribution.from_gaussian_mechanism(sigma, value_discretization_interval=interval, sampling_prob=rate)
