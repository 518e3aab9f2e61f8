"""Epsilon by Renyi divergences (RDP): looser than PLD, but it covers discrete noise and balls in bins too."""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, logsumexp

from quintain.dp.accounting.privacy_loss import History

Floats = npt.NDArray[np.float64]

ORDERS = (*range(2, 65), *range(72, 257, 8), *range(320, 1025, 64))
"""Integer orders, at which divergences have closed forms."""

MIN_SIGMA = 0.2
LOG_Z_MIN, LOG_Z_MAX, LOG_Z_STEP = -60.0, 30.0, 0.01
"""Range and step of log z in the integral of ``_log_negative_moments``; the trapezoid rule converges
exponentially.
"""
NEGLIGIBLE_LOG_RATIO = 45.0
QUADRATURE_SIGMAS = 13.0
LOG_MOMENT_ROUNDING = 1e-9
"""Allowance for rounding of a log moment, far above that of sums in double precision."""


def rdp_epsilon(history: History, delta: float, orders: Sequence[float] | None = None) -> float:
    """Epsilon of Poisson-sampled Gaussian steps by RDP (the ``dp-accounting`` package).

    Args:
        history: Entries (noise multiplier, sample rate, steps).
        delta: In (0, 1).
        orders: By default those of the package.

    Guarantee: an upper bound, for adding or removing one record.

    Source: Mironov, Talwar, Zhang, 2019, arXiv:1908.10530; conversion: Canonne, Kamath, Steinke, 2020,
    arXiv:2004.00010.
    """
    from dp_accounting import NeighboringRelation, dp_event
    from dp_accounting.rdp import RdpAccountant

    history = [run for run in history if run[2]]
    if any(sigma == 0 for sigma, _, _ in history):
        return math.inf
    if not history:
        return 0.0
    accountant = RdpAccountant(orders, NeighboringRelation.ADD_OR_REMOVE_ONE)
    with _without_absl_warnings():
        for sigma, rate, steps in history:
            accountant.compose(dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(sigma)), steps)
        return float(accountant.get_epsilon(delta))


@lru_cache(maxsize=64)
def poisson_gaussian_rdp(sigma: float, rate: float) -> Floats:
    r"""Renyi divergences at ``ORDERS`` of one Poisson-sampled step, with Gaussian or discrete Gaussian noise.

    .. math:: (\alpha - 1) R(\alpha) =
        \log \sum_{k=0}^{\alpha} \binom{\alpha}{k} (1 - q)^{\alpha - k} q^k e^{(k^2 - k) / 2 \sigma^2}

    Guarantee: it holds of :math:`\mathcal{N}_{\mathbb{Z}}(0, s^2)^d` added to integer vectors of norm at most
    :math:`s / \sigma`, in both directions. With P and Q the noise about v and about 0, :math:`P/Q = e^{(2
    \langle x, v \rangle - |v|^2) / 2 s^2}`, so that for whole k the moment :math:`\mathbb{E}_Q (P/Q)^k =
    e^{(k^2 - k) |v|^2 / 2 s^2}` exactly, since :math:`k v` is a whole vector and the sum over the grid does
    not feel the shift. That is the Gaussian's moment, and the sum above is the binomial theorem. The other
    direction is smaller by Theorem 5 of Mironov et al.: reflection about v/2 maps the grid to itself and
    swaps P and Q.

    Source: Mironov, Talwar, Zhang, 2019, arXiv:1908.10530; Canonne, Kamath, Steinke, 2020, arXiv:2004.00010.
    """
    # R(alpha) = alpha / (2 sigma^2) for full batches, else Section 3.3 of arXiv:1908.10530 at integer alpha
    if rate == 1:
        return _read_only(np.array(ORDERS) / (2 * sigma**2))
    return _read_only(np.array([_log_moment(order, sigma, rate) / (order - 1) for order in ORDERS]))


@lru_cache(maxsize=64)
def balls_in_bins_rdp(sigma: float, bins: int) -> Floats:
    r"""Renyi divergences at ``ORDERS`` of an epoch in which a record is in one random step of ``bins``.

    With the record, the outputs have likelihood ratio :math:`L = \frac1t \sum_j L_j` to those without it,
    :math:`L_j` that of step j if the record was there, :math:`\log L_j \sim \mathcal{N}(-1/2\sigma^2,
    1/\sigma^2)`. The moments in the two directions are

    .. math:: \mathbb{E} L^\alpha = \frac{\alpha!}{t^\alpha} [z^\alpha]
        \Big(\sum_k \frac{z^k}{k!} e^{(k^2 - k) / 2 \sigma^2}\Big)^t,
        \qquad \mathbb{E} L^{1 - \alpha} = \frac{1}{\Gamma(\alpha - 1)}
        \int_0^\infty z^{\alpha - 2}\, \varphi(z / t)^t \, dz,
        \quad \varphi(c) = \mathbb{E} e^{-c L_j}

    Neither is taken above :math:`\alpha / 2 \sigma^2`, the cost of the step alone.

    Guarantee: also when steps depend on earlier outputs, for the factor of each step, given those, is largest
    where the record moves it by the whole clipping norm: :math:`L_j` then is largest in convex order, and
    both moments are means of convex functions of it. For blanking a record out ("zero-out"), and each record
    thrown into a bin by itself.

    Source: Feldman, Shenfeld, 2025, arXiv:2502.08202; Chua et al., 2024, arXiv:2412.16802 (the pair of
    outputs).
    """
    orders = np.array(ORDERS)
    alone = orders / (2 * sigma**2)
    if bins == 1 or sigma < MIN_SIGMA:
        return _read_only(alone)
    k = np.arange(max(ORDERS) + 1)
    # E L^alpha: the coefficient of z^alpha in the power of the series, in logs
    removed = (
        _log_series_power((k * k - k) / (2 * sigma**2) - gammaln(k + 1), bins)[orders]
        + gammaln(orders + 1)
        - orders * math.log(bins)
    )
    # the worse of both directions, and not above the cost of the step alone
    both = np.maximum(np.maximum(removed, _log_negative_moments(sigma, bins)), 0)
    return _read_only(np.minimum((both + LOG_MOMENT_ROUNDING) / (orders - 1), alone))


def epsilon_from_rdp(divergences: Floats, delta: float) -> float:
    r"""Epsilon from Renyi divergences at ``ORDERS``, at least 0.

    .. math:: \varepsilon = \min_\alpha R(\alpha) + \log(1 - 1/\alpha) - \log(\delta \alpha) / (\alpha - 1)

    Source: Canonne, Kamath, Steinke, 2020, arXiv:2004.00010, Proposition 12.
    """
    orders = np.array(ORDERS)
    return max(
        0.0, float((divergences + np.log1p(-1 / orders) - np.log(delta * orders) / (orders - 1)).min())
    )


def _read_only(values: Floats) -> Floats:
    """The same array, read-only, since it is cached."""
    values.setflags(write=False)
    return values


@contextmanager
def _without_absl_warnings() -> Iterator[None]:
    """Silence the package's warnings about orders that it leaves out, which only loosens the bound."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _log_moment(order: int, sigma: float, rate: float) -> float:
    """Log of the sum in ``poisson_gaussian_rdp``."""
    k = np.arange(order + 1)
    choose = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    return max(
        0.0,
        float(
            logsumexp(
                choose + (order - k) * math.log1p(-rate) + k * math.log(rate) + (k * k - k) / (2 * sigma**2)
            )
        ),
    )


def _log_series_power(series: Floats, power: int) -> Floats:
    """Log coefficients of a power of the series with log coefficients ``series``, by repeated squaring."""
    result = np.full_like(series, -math.inf)
    result[0] = 0.0
    while power:
        if power & 1:
            result = _log_series_product(result, series)
        series, power = _log_series_product(series, series), power >> 1
    return result


def _log_series_product(one: Floats, other: Floats) -> Floats:
    # Cauchy product in logs: entry n is log sum_k exp(one[k] + other[n - k])
    rows = np.arange(len(one))[:, None] - np.arange(len(one))
    return logsumexp(np.where(rows >= 0, one + other[rows], -math.inf), axis=1)


def _log_negative_moments(sigma: float, bins: int) -> Floats:
    """Log of the second kind of moment in ``balls_in_bins_rdp``; infinite where its integral is cut off."""
    # phi(c) - 1 = E expm1(-c L) by quadrature over the normal variable in L
    normal = np.arange(-QUADRATURE_SIGMAS, QUADRATURE_SIGMAS, min(sigma, 1) / 8)
    ratios = np.exp(normal / sigma - 0.5 / sigma**2)
    chances = np.exp(-0.5 * normal**2)
    chances /= chances.sum()
    logs = np.arange(LOG_Z_MIN, LOG_Z_MAX, LOG_Z_STEP)
    factors = np.array([float(chances @ np.expm1(-math.exp(log) / bins * ratios)) for log in logs])
    # integral over z = exp(u) by the trapezoid rule in u: z^(alpha - 2) dz = exp((alpha - 1) u) du
    with np.errstate(divide="ignore"):
        terms = bins * np.log1p(np.maximum(factors, -1)) + (np.array(ORDERS)[:, None] - 1) * logs
    # an order whose integrand does not vanish at both ends of the range is not used
    cut = np.maximum(terms[:, 0], terms[:, -1]) > terms.max(1) - NEGLIGIBLE_LOG_RATIO
    return np.where(
        cut, math.inf, logsumexp(terms, axis=1) + math.log(LOG_Z_STEP) - gammaln(np.array(ORDERS) - 1)
    )
