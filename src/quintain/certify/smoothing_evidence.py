"""The sequential test of randomized smoothing: it stops as soon as the votes decide the requested radii."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quintain.certify.smoothing_noise import GAUSSIAN, SMALLEST_TAIL, Noise
from quintain.core.statistics import binomial_lower

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

PRIOR = (0.5, 0.25)
"""Beta weights of the probabilities that are bet on: most near 1, where most votes lie after training."""

SEQUENCE_SHARE = 0.9
"""The fraction of alpha that the looks share; the rest is for a Clopper-Pearson limit at the last sample."""

REFUSAL_LEVEL = 0.01
"""How often an example that could be certified is refused, at most; no certificate depends on it."""

SLACK = 1e-6
"""Log evidence beyond the threshold that covers the rounding errors of ``log_evidence``."""

PAID = 1e-9
"""How much larger a radius is taken, relative to itself and to the noise, so that rounding is paid for."""

FINE_LOOKS, FINE_STEP, GROWTH = 200, 8, 1.04
"""Looks every ``FINE_STEP`` samples up to ``FINE_LOOKS``, then each ``GROWTH`` times the one before."""


def log_evidence(hits: Counts, misses: Counts, tail: Floats) -> Floats:
    r"""Return the log of the e-value of some hits and misses against a hit probability of at most 1 - tail.

    .. math:: M_n(p_0) = \int_{p_0}^1 \frac{q^k (1-q)^{n-k}}{p_0^k (1-p_0)^{n-k}}\, w(q)\, dq,
        \qquad w \propto q^{a-1} (1-q)^{b-1} \text{ on } (p_0, 1)

    Args:
        hits, misses: k and n - k, of shapes that broadcast with ``tail``.
        tail: 1 - p0, above 0 and at most 1/2.

    Source: the mixture martingale of Robbins, 1970; bets of one sign as in Waudby-Smith and Ramdas, 2020,
    arXiv:2010.09686.
    """
    return _log_mixture(hits, misses, tail, *PRIOR)


def _log_mixture(hits: Counts, misses: Counts, tail: Floats, a: float, b: float) -> Floats:
    from scipy.special import betainc, betaln

    # Both integrals over q > p0 are incomplete betas of 1 - q < tail; the null's likelihood in logs.
    with np.errstate(divide="ignore"):
        alternative = betaln(hits + a, misses + b) + np.log(betainc(misses + b, hits + a, tail))
        weight = betaln(a, b) + np.log(betainc(b, a, tail))
    null = hits * np.log1p(-tail) + misses * np.log(tail)
    return np.asarray(alternative - weight - null)


def looks(max_samples: int) -> Iterator[int]:
    """Yield the numbers of samples after which to look; the last is ``max_samples``."""
    samples = 0
    while samples < max_samples:
        samples = samples + FINE_STEP if samples < FINE_LOOKS else math.ceil(samples * GROWTH)
        samples = min(samples, max_samples)
        yield samples


def fixed_radius(hits: int, samples: int, alpha: float, sigma: float, noise: Noise = GAUSSIAN) -> float:
    """Return the radius that a number of samples proves which was fixed in advance, rounded down.

    It is negative, and none, where the limit of the probability is below 1/2; -inf without hits.
    """
    return radius_at(binomial_lower(hits, samples, 1 - alpha), sigma, noise) if samples else -math.inf


def radius_at(probability: float, sigma: float, noise: Noise = GAUSSIAN) -> float:
    """Return the radius that a probability proves, rounded down, at most that of ``max_ratio``; -inf at 0."""
    # the ratio is monotone: round p down first, then the product, so that rounding never enlarges the radius
    exact = sigma * noise.unit * min(noise.ratio(probability * (1 - 1e-12)), noise.max_ratio)
    return exact - 1e-12 * abs(exact) if math.isfinite(exact) else exact


@dataclass(frozen=True, slots=True)
class RadiusTest:
    r"""Decide requested radii of smoothed classifiers by looking at their votes again and again.

    A radius r is certified where p, the probability that a noisy copy is classified as ``y``, is shown to
    exceed :math:`p_0 = \Phi(r/\sigma)` (Cohen et al., 2019): at a look after n samples, k of them hits, by
    :math:`M_n(p_0) \ge 1/(0.9\alpha)` (``log_evidence``), or after ``max_samples`` by a one-sided
    Clopper-Pearson limit at :math:`0.1\alpha`.

    Guarantee: for each example, with probability at least ``1 - alpha``, no radius that is ever certified, at
    any look and whether it was asked for or not, reaches the example's true radius or more.

    Proof. Fix :math:`p \ge 1/2` and let q be one of the probabilities bet on, :math:`q > p_0`. One sample
    multiplies its likelihood ratio by :math:`q/p_0 > 1` for a hit and by :math:`(1-q)/(1-p_0) < 1` for a
    miss, of which the expectation is 1 at :math:`p = p_0` and rises with p. So :math:`M_n(p_0)`, a mean of
    such products with a weight that no sample changes, starts at 1 and is a nonnegative supermartingale
    for every :math:`p \le p_0`; by Ville's inequality it ever reaches :math:`1/(0.9\alpha)` with probability
    at most :math:`0.9\alpha`, under any stopping rule.

    All radii together cost nothing more, since whatever passes at :math:`p_0` passes at every :math:`p'` from
    1/2 to :math:`p_0`: a false certificate then implies that p itself (or 1/2, if p is smaller) passed, which
    is the one event bounded above. To see this, write :math:`\theta = \log(p_0/(1-p_0))` and
    :math:`d = k - n p_0`. Then :math:`\partial \log M_n / \partial\theta = h\,(1 - 1/M_n) - d`, where h, the
    hazard rate of w in :math:`\theta`, is at most b = 1/4 as a <= 1. If :math:`d \le 0`, then
    :math:`M_n \le 1`. If :math:`0 < d \le 1/4`, then :math:`M_n \le \exp(n\,KL(k/n, p_0)) \le
    \exp(d^2/(n p_0 (1-p_0))) \le \exp(2d) \le e^{1/2}` by :math:`n (1-p_0) \ge d` and :math:`p_0 \ge 1/2`. So
    wherever :math:`M_n \ge 1/(0.9\alpha) > 2 > e^{1/2}`, M falls strictly in :math:`p_0`, and the
    probabilities that pass form an interval from 1/2 on. Those that pass a Clopper-Pearson limit do, too; the
    two levels add up to ``alpha``. The samples that select the class are not among the n.

    Refusals stop hopeless examples and certify nothing, so that any rule is valid: the mirrored e-value at
    1 %, or so many misses that hits alone up to ``max_samples`` would not certify (this abstains).

    Args:
        sigma: Standard deviation of the noise, in the units of the data.
        radii: Asked radii, rising, in the same units.
        alpha: Probability, for each example, that any of its certificates is false; below 1/2.
        max_samples: Noisy copies after which an undecided radius is left.
        noise: Its law: for uniform noise, :math:`p_0 = \tfrac12 + r / (2 \sqrt 3 \sigma)`; for Laplace noise,
            :math:`p_0 = 1 - \tfrac12 e^{-\sqrt 2 r / \sigma}`.

    Source: Ville, 1939; Robbins, 1970; Waudby-Smith and Ramdas, 2020, arXiv:2010.09686; its use for
    smoothing, Voracek, 2024, arXiv:2406.17830.
    """

    sigma: float
    radii: tuple[float, ...]
    alpha: float
    max_samples: int
    noise: Noise = GAUSSIAN

    @property
    def max_radius(self) -> float:
        """The radius of an example whose samples all agree, up to ``max_samples``; -inf if none is proved."""
        return float(self.radius(np.array([self.max_samples]), np.array([self.max_samples]))[0])

    @property
    def max_certifiable_radius(self) -> float:
        """The largest radius that may be asked: a little smaller, so that its rounding can be paid for."""
        unit = self.sigma * self.noise.unit
        return (self.max_radius / unit - 2 * PAID) / (1 + 2 * PAID) * unit

    def certifies(self, hits: Counts, samples: int) -> Flags:
        """Whether each of B examples with some hits is certified at each requested radius, (B, R)."""
        return self._passes(hits[:, None], np.full((1, 1), samples), self._tails()[None])

    def refuses(self, hits: Counts, samples: int) -> Flags:
        """Return whether the votes reject each requested radius, (B, R), as more could hardly prove it."""
        misses = (samples - hits)[:, None]
        mirrored = _log_mixture(misses, hits[:, None], 1 - self._tails()[None], *PRIOR[::-1])
        return np.asarray(mirrored >= -math.log(REFUSAL_LEVEL))

    def max_misses(self) -> Counts:
        """Return, for each requested radius (R,), with how many misses it can be certified; -1 if never.

        The evidence rises with each hit, so that what fails with hits alone up to the last sample fails
        before.
        """
        low, high = np.full(len(self.radii), -1), np.full(len(self.radii), self.max_samples)
        while (high - low > 1).any():
            middle = (low + high) // 2
            passes = self._passes(
                self.max_samples - middle, np.full_like(middle, self.max_samples), self._tails()
            )
            low, high = np.where(passes, middle, low), np.where(passes, high, middle)
        return low

    def radius(self, hits: Counts, samples: Counts) -> Floats:
        """Return the largest radius (B,) that the votes certify, rounded down; -inf where they certify none.

        Args:
            hits: (B,).
            samples: Noisy copies of each (B,), at one of its looks.
        """
        # Whatever passes in the bisection is proved, however far it has converged.
        low, high = np.zeros(len(hits)), np.full(len(hits), self.noise.max_ratio)
        proved = self._passes(hits, samples, _round_down(self.noise.tail(low)))
        for _ in range(40):
            middle = (low + high) / 2
            passes = self._passes(hits, samples, _round_down(self.noise.tail(middle)))
            low, high = np.where(passes, middle, low), np.where(passes, high, middle)
        return np.where(proved, _round_down(self.sigma * self.noise.unit * low), -np.inf)

    def _tails(self) -> Floats:
        """Return 1 - p0 of radii greater by ``PAID`` than the asked ones, so that rounding is paid for.

        Of those that no samples certify it is too small to be shown.
        """
        ratio = np.array(self.radii, dtype=np.float64) / (self.sigma * self.noise.unit)
        ratio = ratio * (1 + PAID) + PAID
        return _round_down(np.where(ratio > self.noise.max_ratio, SMALLEST_TAIL, self.noise.tail(ratio)))

    def _passes(self, hits: Counts, samples: Counts, tail: Floats) -> Flags:
        """Whether a hit probability above ``1 - tail`` is shown."""
        from scipy.special import betaincc

        misses = samples - hits
        # Evidence of fewer hits is 1 at most; its logarithm may have lost its digits.
        is_certain = (hits > (1 - tail) * samples) & (
            log_evidence(hits, misses, tail) >= SLACK - math.log(SEQUENCE_SHARE * self.alpha)
        )
        last = samples == self.max_samples
        if not last.any():
            return np.asarray(is_certain)
        # P[Binomial(n, p0) >= k], at the one look that is fixed in advance.
        chance = np.where(hits > 0, betaincc(misses + 1, np.maximum(hits, 1), tail), 1.0)
        return np.asarray(is_certain | last & (chance <= (1 - SEQUENCE_SHARE) * self.alpha * (1 - 1e-9)))


def _round_down(value: Floats) -> Floats:
    """Return a value that is smaller by more than the errors of ``ndtr`` and of products."""
    return np.asarray(value * (1 - 1e-12))
