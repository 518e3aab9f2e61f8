"""An interval for the mean of bounded numbers, of any law, that holds its level for any number of them."""

import math

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import SettingError
from quintain.core.statistics import check_confidence

_GRID = 2000
"""Means that are tried; an interval is widened by one step of the grid on each side."""

_TRUNCATION = 0.5
"""No bet risks more than this fraction of what is left."""


def bounded_mean_interval(
    values: NDArray[np.float64], low: float, high: float, *, confidence: float = 0.95
) -> tuple[float, float]:
    r"""Return an interval for the mean of a law on [low, high], from independent values in their order.

    A gambler bets against each possible mean m, in turn for a larger and for a smaller one, by a rule that
    looks at earlier values only:

    .. math:: K_t^{\pm}(m) = \prod_{i \le t} \big(1 \pm \lambda_i^{\pm} (x_i - m)\big)

    At the true mean both are nonnegative martingales that start at 1, and so is their average; it ever
    reaches :math:`1/\alpha` with probability at most :math:`\alpha` (Ville's inequality). The interval holds
    the means at which neither half did. It adapts to the variance: of numbers that differ little it is short.

    Args:
        values: (n,), each in [low, high].
        low, high: Ends of what a value may be.
        confidence: Of the interval.

    Raises:
        SettingError: If there are no values, or some lie outside.

    Source: Waudby-Smith, Ramdas, 2020, arXiv:2010.09686 (hedged capital, Theorem 3).
    """
    alpha = 1 - check_confidence(confidence)
    if not len(values) or not bool((values >= low).all() and (values <= high).all()) or not low < high:
        raise SettingError(f"{len(values)} values; expected at least one, each in [{low:g}, {high:g}]")
    x, n = (values - low) / (high - low), len(values)
    # Predictable estimates of mean and variance, with half an observation of a fair coin before the first.
    counts = np.arange(1, n + 1)
    means = (0.5 + np.cumsum(x)) / (counts + 1)
    variances = (0.25 + np.cumsum((x - means) ** 2)) / (counts + 1)
    before = np.concatenate([[0.25], variances[:-1]])
    bets = np.sqrt(2 * math.log(2 / alpha) / (n * before))
    m = np.linspace(0, 1, _GRID + 1)
    with np.errstate(divide="ignore"):
        up = np.minimum(bets[:, None], _TRUNCATION / m)
        down = np.minimum(bets[:, None], _TRUNCATION / (1 - m))
    rest = x[:, None] - m
    # Each half has half of the capital.
    wealth_up = np.log1p(up * rest).cumsum(axis=0).max(axis=0) - math.log(2)
    wealth_down = np.log1p(-down * rest).cumsum(axis=0).max(axis=0) - math.log(2)
    kept = m[(wealth_up < -math.log(alpha)) & (wealth_down < -math.log(alpha))]
    step = 1 / _GRID
    ends = (kept.min() - step, kept.max() + step) if len(kept) else (means[-1] - step, means[-1] + step)
    return low + (high - low) * max(0.0, float(ends[0])), low + (high - low) * min(1.0, float(ends[1]))
