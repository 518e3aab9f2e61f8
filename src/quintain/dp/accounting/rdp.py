"""Epsilon by Renyi divergences: looser than by privacy losses, but it holds for the discrete Gaussian and for random allocation too."""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, logsumexp

from quintain.dp.accounting.losses import History

Floats = npt.NDArray[np.float64]

ORDERS = (*range(2, 65), *range(72, 257, 8), *range(320, 1025, 64))
"""Whole orders, at which divergences have closed forms."""

LEAST_SIGMA = 0.2
LOWEST, HIGHEST, MESH = -60.0, 30.0, 0.01
"""Logarithms at which the integral over z is taken; the trapezoid rule converges exponentially."""
NEGLIGIBLE = 45.0
TAIL = 13.0
ROUNDING = 1e-9
"""Of a log moment: far above that of sums in double precision."""


def rdp_epsilon(history: History, delta: float, orders: Sequence[float] | None = None) -> float:
    """Epsilon of runs of Poisson-sampled Gaussian steps by their Renyi divergences (the ``dp-accounting`` package).

    Args:
        history: Runs (noise multiplier, sample rate, steps).
        delta: In (0, 1).
        orders: By default those of the package.

    Guarantee: an upper bound, for adding or removing one record.

    Source: Mironov, Talwar, Zhang, 2019, arXiv:1908.10530; conversion: Canonne, Kamath, Steinke, 2020, arXiv:2004.00010.
    """
    from dp_accounting import NeighboringRelation, dp_event
    from dp_accounting.rdp import RdpAccountant

    history = [run for run in history if run[2]]
    if any(sigma == 0 for sigma, _, _ in history):
        return math.inf
    if not history:
        return 0.0
    accountant = RdpAccountant(orders, NeighboringRelation.ADD_OR_REMOVE_ONE)
    with _quiet():
        for sigma, rate, steps in history:
            accountant.compose(dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(sigma)), steps)
        return float(accountant.get_epsilon(delta))


@lru_cache(maxsize=64)
def sampled(sigma: float, rate: float) -> Floats:
    r"""Renyi divergences of one Poisson-sampled step at whole ``ORDERS``, for Gaussian and for discrete Gaussian noise.

    .. math:: (\alpha - 1) R(\alpha) = \log \sum_{k=0}^{\alpha} \binom{\alpha}{k} (1 - q)^{\alpha - k} q^k e^{(k^2 - k) / 2 \sigma^2}

    Guarantee: it holds of :math:`\mathcal{N}_{\mathbb{Z}}(0, s^2)^d` added to integer vectors of norm at most :math:`s / \sigma`, in
    both directions. With P and Q the noise about v and about 0, :math:`P/Q = e^{(2 \langle x, v \rangle - |v|^2) / 2 s^2}`, so that
    for whole k the moment :math:`\mathbb{E}_Q (P/Q)^k = e^{(k^2 - k) |v|^2 / 2 s^2}` exactly, since :math:`k v` is a whole vector and
    the sum over the grid does not feel the shift. That is the Gaussian's moment, and the sum above is the binomial theorem. The other
    direction is smaller by Theorem 5 of Mironov et al.: reflection about v/2 maps the grid to itself and swaps P and Q.

    Source: Mironov, Talwar, Zhang, 2019, arXiv:1908.10530; Canonne, Kamath, Steinke, 2020, arXiv:2004.00010.
    """
    if rate == 1:
        return _fixed(np.array(ORDERS) / (2 * sigma**2))
    return _fixed(np.array([_moment(order, sigma, rate) / (order - 1) for order in ORDERS]))


@lru_cache(maxsize=64)
def allocated(sigma: float, bins: int) -> Floats:
    r"""Renyi divergences, at whole ``ORDERS``, of a whole pass in which a record is in one random step of ``bins`` (balls in bins).

    With the record, the outputs have likelihood ratio :math:`L = \frac1t \sum_j L_j` to those without it, :math:`L_j` that of step j
    if the record was there, :math:`\log L_j \sim \mathcal{N}(-1/2\sigma^2, 1/\sigma^2)`. The moments in the two directions are

    .. math:: \mathbb{E} L^\alpha = \frac{\alpha!}{t^\alpha} [z^\alpha] \Big(\sum_k \frac{z^k}{k!} e^{(k^2 - k) / 2 \sigma^2}\Big)^t,
        \qquad \mathbb{E} L^{1 - \alpha} = \frac{1}{\Gamma(\alpha - 1)} \int_0^\infty z^{\alpha - 2}\, \varphi(z / t)^t \, dz,
        \quad \varphi(c) = \mathbb{E} e^{-c L_j}

    Neither is taken above :math:`\alpha / 2 \sigma^2`, the cost of the step alone.

    Guarantee: also when steps depend on earlier outputs, for the factor of each step, given those, is largest where the record moves it
    by the whole clipping norm: :math:`L_j` then is largest in convex order, and both moments are means of convex functions of it. For
    blanking a record out ("zero-out"), and each record thrown into a bin by itself.

    Source: Feldman, Shenfeld, 2025, arXiv:2502.08202; Chua et al., 2024, arXiv:2412.16802 (the pair of outputs).
    """
    orders = np.array(ORDERS)
    alone = orders / (2 * sigma**2)
    if bins == 1 or sigma < LEAST_SIGMA:
        return _fixed(alone)
    k = np.arange(max(ORDERS) + 1)
    removed = _power((k * k - k) / (2 * sigma**2) - gammaln(k + 1), bins)[orders] + gammaln(orders + 1) - orders * math.log(bins)
    both = np.maximum(np.maximum(removed, _inverse_moments(sigma, bins)), 0)
    return _fixed(np.minimum((both + ROUNDING) / (orders - 1), alone))


def to_epsilon(divergences: Floats, delta: float) -> float:
    r"""The least :math:`R(\alpha) + \log(1 - 1/\alpha) - \log(\delta \alpha) / (\alpha - 1)` over ``ORDERS``, at least 0.

    Source: Canonne, Kamath, Steinke, 2020, arXiv:2004.00010, Proposition 12.
    """
    orders = np.array(ORDERS)
    return max(0.0, float((divergences + np.log1p(-1 / orders) - np.log(delta * orders) / (orders - 1)).min()))


def _fixed(values: Floats) -> Floats:
    """The same, not to be written to: it is kept for the next time."""
    values.setflags(write=False)
    return values


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the package's warnings of orders that it leaves out, which only loosens the bound."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _moment(order: int, sigma: float, rate: float) -> float:
    """Log of the sum in ``sampled``."""
    k = np.arange(order + 1)
    choose = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    return max(0.0, float(logsumexp(choose + (order - k) * math.log1p(-rate) + k * math.log(rate) + (k * k - k) / (2 * sigma**2))))


def _power(series: Floats, power: int) -> Floats:
    """Log coefficients of a power series with log coefficients ``series``, raised to ``power`` by repeated squaring."""
    result = np.full_like(series, -math.inf)
    result[0] = 0.0
    while power:
        if power & 1:
            result = _product(result, series)
        series, power = _product(series, series), power >> 1
    return result


def _product(one: Floats, other: Floats) -> Floats:
    rows = np.arange(len(one))[:, None] - np.arange(len(one))
    return logsumexp(np.where(rows >= 0, one + other[rows], -math.inf), axis=1)


def _inverse_moments(sigma: float, bins: int) -> Floats:
    """Log of the second kind of moment in ``allocated``; infinite where its integral is cut off."""
    normal = np.arange(-TAIL, TAIL, min(sigma, 1) / 8)
    ratios = np.exp(normal / sigma - 0.5 / sigma**2)
    chances = np.exp(-0.5 * normal**2)
    chances /= chances.sum()
    logs = np.arange(LOWEST, HIGHEST, MESH)
    factors = np.array([float(chances @ np.expm1(-math.exp(log) / bins * ratios)) for log in logs])
    with np.errstate(divide="ignore"):
        terms = bins * np.log1p(np.maximum(factors, -1)) + (np.array(ORDERS)[:, None] - 1) * logs
    cut = np.maximum(terms[:, 0], terms[:, -1]) > terms.max(1) - NEGLIGIBLE
    return np.where(cut, math.inf, logsumexp(terms, axis=1) + math.log(MESH) - gammaln(np.array(ORDERS) - 1))
