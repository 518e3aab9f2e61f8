"""The privacy loss of one step of the Poisson-sampled Gaussian mechanism: its values, its distribution, its cumulants."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

History = Sequence[tuple[float, float, int]]
"""Runs of steps: noise multiplier, sample rate, number."""
Floats = npt.NDArray[np.float64]

MOST_NODES = 1 << 17
MOST_TILT = 1 << 14


@dataclass(frozen=True, slots=True)
class Loss:
    r"""The privacy loss of one step, for the pair of outputs that dominates all others.

    .. math:: Y = \log \frac{p(X)}{p'(X)}, \; X \sim p, \qquad
        \{p, p'\} = \{(1 - q)\,\mathcal{N}(0, \sigma^2) + q\,\mathcal{N}(1, \sigma^2),\; \mathcal{N}(0, \sigma^2)\}

    Args:
        sigma: Positive.
        rate: q, in (0, 1].
        added: Whether ``p`` is the output without the record (it is added in ``p'``), or the one with it (it is removed).
        tail: Standard deviations of noise that outputs are followed to.

    Source: Zhu, Dong, Wang, 2022, arXiv:2106.08567 (the pair of each direction dominates any adaptive composition).
    """

    sigma: float
    rate: float
    added: bool
    tail: float

    def at(self, x: Floats) -> Floats:
        """The loss at outputs ``x``."""
        ratio = np.logaddexp(self._absent, math.log(self.rate) + (x - 0.5) / self.sigma**2)
        return -ratio if self.added else ratio

    def output(self, y: Floats) -> Floats:
        """The outputs whose loss is ``y``; infinite where there are none."""
        y = -y if self.added else y
        power = y
        if self.rate < 1:
            with np.errstate(divide="ignore"):
                high = y + np.log1p((self.rate - 1) * np.exp(-np.maximum(y, 1)))
                power = np.where(y > 1, high, np.log(np.maximum(np.expm1(np.minimum(y, 1)) + self.rate, 0)))
        return (power - math.log(self.rate)) * self.sigma**2 + 0.5

    def mass(self, edges: Floats) -> Floats:
        """The probability of the losses between neighbouring ``edges``, each with small relative error in either tail."""
        x = self.output(edges)
        x = x[::-1] if self.added else x
        middle = min(int(np.searchsorted(x, 0.5)), len(x) - 1)
        mass = np.concatenate([np.diff(self._beyond(x[: middle + 1], 1)), -np.diff(self._beyond(x[middle:], -1))])
        return mass[::-1] if self.added else mass

    def span(self) -> tuple[float, float]:
        """Lowest and highest loss that is followed."""
        ends = self.at(np.array([-self.tail * self.sigma, 1 + self.tail * self.sigma]))
        return float(ends.min()), float(ends.max())

    def outside(self) -> float:
        """At least the probability of losses outside the span."""
        return 2 * float(ndtr(-self.tail))

    def nodes(self) -> tuple[Floats, Floats]:
        """Losses and log weights whose sums are expectations, by the trapezoid rule, which converges exponentially here.

        Raises:
            OverflowError: If there would be too many.
        """
        step = self.sigma / 8 if self.rate == 1 else min(self.sigma / 8, self.sigma**2 / 4)
        count = math.ceil((1 + 2 * self.tail * self.sigma) / step)
        if count > MOST_NODES:
            raise OverflowError(f"{count} nodes for sigma = {self.sigma}")
        x: Floats = -self.tail * self.sigma + step * np.arange(count + 1, dtype=np.float64)
        weights: Floats = -0.5 * (x / self.sigma) ** 2
        if not self.added:
            weights = np.logaddexp(self._absent + weights, math.log(self.rate) - 0.5 * ((x - 1) / self.sigma) ** 2)
        return self.at(x), weights + math.log(step / (self.sigma * math.sqrt(2 * math.pi)))

    @property
    def _absent(self) -> float:
        """Log of the probability that the record is not drawn."""
        return math.log1p(-self.rate) if self.rate < 1 else -math.inf

    def _beyond(self, x: Floats, side: int) -> Floats:
        """Probability that the output is below ``x`` (side 1) or above (side -1)."""
        beyond = ndtr(side * x / self.sigma)
        return beyond if self.added else (1 - self.rate) * beyond + self.rate * ndtr(side * (x - 1) / self.sigma)


class Cumulants:
    r"""The cumulant function of the sum of all losses, :math:`K(\lambda) = \sum_i T_i \log \mathbb{E}\, e^{\lambda Y_i}`.

    Args:
        runs: Losses, and how many of each.

    Raises:
        OverflowError: If noise is too small for the quadrature.
    """

    def __init__(self, runs: Sequence[tuple[Loss, int]]) -> None:
        self._parts = [(*loss.nodes(), steps) for loss, steps in runs]

    def __call__(self, tilt: float) -> tuple[float, float, float]:
        """K, its first and its second derivative: log moment, mean and variance of the tilted sum."""
        total = mean = variance = 0.0
        for losses, weights, steps in self._parts:
            # log E exp(tilt Y), about its largest term so that nothing overflows, and the tilted probabilities
            exponents = tilt * losses + weights
            largest = float(exponents.max())
            share = np.exp(exponents - largest)
            moment = float(share.sum())
            log, share = largest + math.log(moment), share / moment
            first = float(share @ losses)
            total, mean = total + steps * log, mean + steps * first
            variance += steps * float(share @ (losses - first) ** 2)
        return total, mean, variance

    @property
    def means(self) -> list[float]:
        """The mean of one loss of each run."""
        return [float(np.exp(weights) @ losses) for losses, weights, _ in self._parts]

    def saddle(self, delta: float) -> float:
        """The tilt at which Chernoff's bound on the tail of the sum is ``delta``: it brings that tail to the middle."""

        def above(tilt: float) -> bool:
            value, mean, _ = self(tilt)
            return value - tilt * mean > math.log(delta)

        low, high = 0.0, 1.0
        while above(high) and high < MOST_TILT:
            low, high = high, 2 * high
        for _ in range(5):
            middle = (low + high) / 2
            low, high = (middle, high) if above(middle) else (low, middle)
        return high

    def reach(self, tilt: float, outside: float) -> tuple[float, float]:
        """Distances below and above its mean that the tilted sum exceeds with a probability of at most ``outside`` each (Chernoff)."""
        value, mean, variance = self(tilt)
        spread = math.sqrt(variance)

        def distance(further: float) -> float:
            return (self(tilt + further)[0] - value - further * mean - math.log(outside)) / abs(further)

        factors = (0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 12.0)
        return min(distance(-factor / spread) for factor in factors), min(distance(factor / spread) for factor in factors)
