"""How much privacy steps of the Poisson-sampled Gaussian mechanism cost, from above."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from quintain.core.errors import SettingError

ADJACENCY = "add/remove"
"""Data sets are neighbours if one has one record more."""

FINEST = 1e-4
TOLERANCE = 1e-3
MOST_NOISE = 12.0
STRIDE = 0.25


def epsilon(noise_multiplier: float, sample_rate: float, steps: int, delta: float) -> float:
    r"""The smallest epsilon that is proved for ``steps`` steps of sampled Gaussian noise.

    .. math:: M_t(D) = \sum_{i \in B_t} \mathrm{clip}_C(g_i) + \sigma C\,\mathcal{N}(0, I), \qquad i \in B_t \text{ with probability } q

    Args:
        noise_multiplier: sigma; 0 costs infinity.
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


def composed_epsilon(history: Sequence[tuple[float, float, int]], delta: float, *, interval: float = FINEST) -> float:
    """``epsilon`` of several runs of steps (noise multiplier, sample rate, steps) after one another on the same records.

    A coarser ``interval`` of the grid of privacy losses is faster and gives a larger bound.
    """
    _check_delta(delta)
    spent = _checked(history)
    if not spent:
        return 0.0
    return float(_accountant(spent, interval).get_epsilon(delta)) if _noisy(spent) else math.inf


def delta_curve(noise_multiplier: float, sample_rate: float, steps: int) -> Callable[[float], float]:
    """The function from epsilon to the smallest proved delta, for steps as in ``epsilon``."""
    spent = _checked([(noise_multiplier, sample_rate, steps)])
    if not spent:
        return lambda _epsilon: 0.0
    if not _noisy(spent):
        return lambda _epsilon: 1.0
    accountant = _accountant(spent, FINEST)
    return lambda at: float(accountant.get_delta(at))


def noise_for(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """The smallest noise multiplier, up to half a percent, whose steps cost at most ``epsilon`` at ``delta``.

    Args:
        epsilon: The target, positive; never exceeded.
        delta: In (0, 1).
        sample_rate: Probability that a record is in a step, in (0, 1].
        steps: How many, at least one.

    Raises:
        SettingError: If an argument is out of its range.
    """
    from scipy.optimize import brentq

    if not 0 < epsilon < math.inf:
        raise SettingError(f"got a target epsilon of {epsilon}; expected a positive finite number, such as 3")
    _checked([(1.0, sample_rate, steps)])
    _check_delta(delta)
    if steps < 1:
        raise SettingError(f"got {steps} steps to calibrate noise for; expected at least one")
    grid = min(max(FINEST, epsilon * 3e-4), 1e-2)

    def excess(scale: float) -> float:
        """Log of what exp(scale) costs, over the target."""
        cost = composed_epsilon([(math.exp(scale), sample_rate, steps)], delta, interval=grid)
        return math.log(min(max(cost, 1e-9), 1e9) / epsilon)

    guess = _central_limit(epsilon, delta, sample_rate, steps)
    short, enough = guess - STRIDE, guess + STRIDE
    while enough < MOST_NOISE and excess(enough) > 0:
        short, enough = enough, enough + STRIDE
    if enough >= MOST_NOISE:
        raise SettingError(
            f"no noise multiplier up to {math.exp(MOST_NOISE):.0f} reaches epsilon = {epsilon} in {steps} steps; expected a larger epsilon"
        )
    while excess(short) < 0:
        short, enough = short - STRIDE, short
    scale = float(brentq(excess, short, enough, xtol=TOLERANCE / 4)) + TOLERANCE / 4
    while composed_epsilon([(math.exp(scale), sample_rate, steps)], delta) > epsilon:
        scale += TOLERANCE / 4
    return math.exp(scale)


def _central_limit(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """Log of roughly the noise multiplier sought: where to start (Bu et al., 2019, arXiv:1911.11607)."""
    tail = 2 * math.log(1 / delta)
    mu = math.sqrt(tail + 2 * epsilon) - math.sqrt(tail)
    return -0.5 * math.log(math.log1p((mu / sample_rate) ** 2 / steps))


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise SettingError(
            f"got delta = {delta}; expected a number strictly between 0 and 1, well below one over the records, such as 1e-5"
        )


def _checked(history: Sequence[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """The runs that cost something."""
    for sigma, rate, steps in history:
        if not 0 <= sigma < math.inf:
            raise SettingError(f"got a noise multiplier of {sigma}; expected a finite number, at least 0")
        if not 0 < rate <= 1:
            raise SettingError(f"got a sample rate of {rate}; expected a probability in (0, 1]: expected batch size over records")
        if steps < 0:
            raise SettingError(f"got {steps} steps; expected 0 or more")
    return [run for run in history if run[2]]


def _noisy(history: Sequence[tuple[float, float, int]]) -> bool:
    return all(sigma > 0 for sigma, _, _ in history)


def _accountant(history: Sequence[tuple[float, float, int]], interval: float) -> Any:
    """Privacy loss distributions of all runs, composed; the grid is coarser where losses are huge."""
    from dp_accounting import NeighboringRelation, dp_event
    from dp_accounting.pld import PLDAccountant

    reach = sum(steps * min(rate**2 * math.expm1(min(sigma**-2, 99)), sigma**-2) for sigma, rate, steps in history)
    interval = max(interval, 1e-6 * reach, *(FINEST / sigma**2 for sigma, _, _ in history))
    accountant = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE, interval)
    for sigma, rate, steps in history:
        accountant.compose(dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(sigma)), steps)
    return accountant
