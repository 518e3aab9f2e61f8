r"""What a privacy guarantee allows whoever guesses membership: bounds on the true-positive rate.

A trade-off function here gives the largest true-positive rate of any test at a false-positive rate; it is
concave and rises from T(0) to 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from quintain.core.errors import SettingError

MaxTPR = Callable[[float], float]
"""From a false-positive rate in [0, 1] to the largest true-positive rate that is allowed there."""

GRID = 2000
"""Cells over which a trade-off function is summed, from above."""


@dataclass(frozen=True, slots=True)
class EpsilonDelta:
    r"""The trade-off function of :math:`(\varepsilon, \delta)`-DP.

    .. math:: T(f) = \min\{e^\varepsilon f + \delta,\; 1 - e^{-\varepsilon} (1 - \delta - f),\; 1\}

    Args:
        epsilon, delta: For adding or removing the one example.

    Raises:
        SettingError: If they are out of range.

    Source: Kairouz, Oh, Viswanath, 2015, arXiv:1311.0776; Dong, Roth, Su, 2019, arXiv:1905.02383.
    """

    epsilon: float
    delta: float = 0.0

    def __post_init__(self) -> None:
        if not (self.epsilon >= 0 and 0 <= self.delta <= 1):
            raise SettingError(
                f"epsilon = {self.epsilon}, delta = {self.delta}; expected epsilon >= 0 and delta in [0, 1]"
            )

    def __call__(self, fpr: float) -> float:
        """Return the largest true-positive rate at a false-positive rate."""
        ratio = self._max_ratio
        return min(1.0, ratio * fpr + self.delta if fpr else self.delta, 1 - (1 - self.delta - fpr) / ratio)

    @property
    def max_advantage(self) -> float:
        r"""The largest true-positive less false-positive rate that is allowed, where the two lines meet.

        .. math:: \frac{e^\varepsilon - 1 + 2 \delta}{e^\varepsilon + 1}
        """
        return min(1.0, math.tanh(self.epsilon / 2) + 2 * self.delta / (self._max_ratio + 1))

    @property
    def _max_ratio(self) -> float:
        """The exponential of epsilon; infinite where a float has no such number."""
        return math.inf if self.epsilon > 700 else math.exp(self.epsilon)


def max_advantage(max_tpr: MaxTPR) -> float:
    """Bound TPR - FPR over all false-positive rates, from above."""
    rates = np.linspace(0.0, 1.0, GRID + 1)
    # within a cell the TPR is at most that at its right end, the FPR at least that at its left end
    differences = [max_tpr(right) - left for left, right in pairwise(rates.tolist())]
    return min(1.0, max(differences))


def max_auc(max_tpr: MaxTPR) -> float:
    """Bound the area under the ROC curve from above."""
    return min(1.0, sum(max_tpr(cell / GRID) for cell in range(1, GRID + 1)) / GRID)
