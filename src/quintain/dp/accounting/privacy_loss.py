"""The privacy loss of one step of the Poisson-sampled Gaussian mechanism: distribution and cumulants."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

History = Sequence[tuple[float, float, int]]
"""Entries (noise multiplier, sample rate, number of steps)."""
Floats = npt.NDArray[np.float64]

MAX_QUADRATURE_NODES = 1 << 17
MAX_TILT = 1 << 14


@dataclass(frozen=True, slots=True)
class PrivacyLoss:
    r"""The privacy loss of one step, for the pair of outputs that dominates all others.

    .. math:: Y = \log \frac{p(X)}{p'(X)}, \; X \sim p, \qquad
        \{p, p'\} = \{(1 - q)\,\mathcal{N}(0, \sigma^2) + q\,\mathcal{N}(1, \sigma^2),\;
        \mathcal{N}(0, \sigma^2)\}

    Args:
        sigma: Positive.
        sample_rate: q, in (0, 1].
        add_direction: Whether ``p`` is the output without the record (it is added in ``p'``), or the one with
            it (it is removed).
        tail_sigmas: Standard deviations of noise up to which outputs are considered.

    Source: Zhu, Dong, Wang, 2022, arXiv:2106.08567 (the pair of each direction dominates any adaptive
    composition).
    """

    sigma: float
    sample_rate: float
    add_direction: bool
    tail_sigmas: float

    def loss_at(self, x: Floats) -> Floats:
        """The loss at outputs ``x``."""
        # log((1 - q) + q exp((x - 1/2) / sigma^2)): density ratio with over without the record
        ratio = np.logaddexp(self._log_not_sampled, math.log(self.sample_rate) + (x - 0.5) / self.sigma**2)
        return -ratio if self.add_direction else ratio

    def output_at(self, y: Floats) -> Floats:
        """The outputs whose loss is ``y``, the inverse of ``loss_at``; infinite where there are none."""
        y = -y if self.add_direction else y
        power = y
        if self.sample_rate < 1:
            # log(exp(y) - (1 - q)): for y > 1 as y + log1p(...), else by expm1, so that neither cancels; -inf
            # below the least loss, log(1 - q)
            with np.errstate(divide="ignore"):
                high = y + np.log1p((self.sample_rate - 1) * np.exp(-np.maximum(y, 1)))
                power = np.where(
                    y > 1, high, np.log(np.maximum(np.expm1(np.minimum(y, 1)) + self.sample_rate, 0))
                )
        return (power - math.log(self.sample_rate)) * self.sigma**2 + 0.5

    def cell_probabilities(self, edges: Floats) -> Floats:
        """The probability of losses between neighboring ``edges``, each with a small relative error."""
        x = self.output_at(edges)
        x = x[::-1] if self.add_direction else x
        # differences of lower tails left of 1/2, of upper tails right of it: no cancellation in either
        middle = min(int(np.searchsorted(x, 0.5)), len(x) - 1)
        probabilities = np.concatenate(
            [
                np.diff(self._tail_probability(x[: middle + 1], 1)),
                -np.diff(self._tail_probability(x[middle:], -1)),
            ]
        )
        return probabilities[::-1] if self.add_direction else probabilities

    def loss_range(self) -> tuple[float, float]:
        """The lowest and the highest loss that is considered."""
        ends = self.loss_at(np.array([-self.tail_sigmas * self.sigma, 1 + self.tail_sigmas * self.sigma]))
        return float(ends.min()), float(ends.max())

    def truncated_probability(self) -> float:
        """An upper bound on the probability of losses outside ``loss_range``."""
        return 2 * float(ndtr(-self.tail_sigmas))

    def quadrature(self) -> tuple[Floats, Floats]:
        """Losses and log weights whose weighted sums are expectations.

        They are those of the trapezoid rule, which converges exponentially for normal densities.

        Raises:
            OverflowError: If there would be too many.
        """
        # the integrand changes on the scale of sigma, and of sigma^2 where the two terms of the ratio meet
        step = self.sigma / 8 if self.sample_rate == 1 else min(self.sigma / 8, self.sigma**2 / 4)
        count = math.ceil((1 + 2 * self.tail_sigmas * self.sigma) / step)
        if count > MAX_QUADRATURE_NODES:
            raise OverflowError(f"{count} nodes for sigma = {self.sigma}")
        x: Floats = -self.tail_sigmas * self.sigma + step * np.arange(count + 1, dtype=np.float64)
        weights: Floats = -0.5 * (x / self.sigma) ** 2
        if not self.add_direction:
            weights = np.logaddexp(
                self._log_not_sampled + weights,
                math.log(self.sample_rate) - 0.5 * ((x - 1) / self.sigma) ** 2,
            )
        return self.loss_at(x), weights + math.log(step / (self.sigma * math.sqrt(2 * math.pi)))

    @property
    def _log_not_sampled(self) -> float:
        """Log of the probability that the record is not sampled."""
        return math.log1p(-self.sample_rate) if self.sample_rate < 1 else -math.inf

    def _tail_probability(self, x: Floats, side: int) -> Floats:
        """Probability that the output is below ``x`` (side 1) or above (side -1)."""
        beyond = ndtr(side * x / self.sigma)
        return (
            beyond
            if self.add_direction
            else (1 - self.sample_rate) * beyond + self.sample_rate * ndtr(side * (x - 1) / self.sigma)
        )


class CumulantFunction:
    r"""The cumulant function of the sum of all losses, :math:`K(\lambda) = \sum_i T_i \log \mathbb{E}\,
    e^{\lambda Y_i}`.

    Args:
        runs: Losses, and the number of steps of each.

    Raises:
        OverflowError: If noise is too small for the quadrature.
    """

    def __init__(self, runs: Sequence[tuple[PrivacyLoss, int]]) -> None:
        self._parts = [(*loss.quadrature(), steps) for loss, steps in runs]

    def __call__(self, tilt: float) -> tuple[float, float, float]:
        """K, its first and its second derivative: log moment, mean and variance of the tilted sum."""
        total = mean = variance = 0.0
        for losses, weights, steps in self._parts:
            # log E exp(tilt Y) about its largest term, so that nothing overflows; the tilted law; K' and K''
            # are its mean and variance
            exponents = tilt * losses + weights
            largest = float(exponents.max())
            tilted_pmf = np.exp(exponents - largest)
            moment = float(tilted_pmf.sum())
            log, tilted_pmf = largest + math.log(moment), tilted_pmf / moment
            first = float(tilted_pmf @ losses)
            total, mean = total + steps * log, mean + steps * first
            variance += steps * float(tilted_pmf @ (losses - first) ** 2)
        return total, mean, variance

    @property
    def mean_losses(self) -> list[float]:
        """The mean of one loss of each entry."""
        return [float(np.exp(weights) @ losses) for losses, weights, _ in self._parts]

    def tilt_for_delta(self, delta: float) -> float:
        """The tilt at which Chernoff's bound on the tail of the sum is ``delta``; it centers that tail."""

        def above(tilt: float) -> bool:
            value, mean, _ = self(tilt)
            return value - tilt * mean > math.log(delta)

        low, high = 0.0, 1.0
        while above(high) and high < MAX_TILT:
            low, high = high, 2 * high
        # five halvings: any tilt gives sound bounds, a good one tight bounds
        for _ in range(5):
            middle = (low + high) / 2
            low, high = (middle, high) if above(middle) else (low, middle)
        return high

    def chernoff_distances(self, tilt: float, tail_probability: float) -> tuple[float, float]:
        """Return distances below and above the mean, each exceeded with ``tail_probability`` at most."""
        value, mean, variance = self(tilt)
        spread = math.sqrt(variance)

        # Chernoff for the tilted sum: P[S - mean >= d] <= exp(K(tilt + s) - K(tilt) - s (mean + d)), solved
        # for d; the least over some s
        def distance(further: float) -> float:
            return (self(tilt + further)[0] - value - further * mean - math.log(tail_probability)) / abs(
                further
            )

        factors = (0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 12.0)
        return min(distance(-factor / spread) for factor in factors), min(
            distance(factor / spread) for factor in factors
        )
