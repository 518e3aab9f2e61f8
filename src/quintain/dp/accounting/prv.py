"""Two-sided bounds on epsilon: privacy random variables on a grid, composed by fast Fourier transforms."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.special import ndtri

from quintain.dp.accounting.gaussian import merge_full_batch_steps
from quintain.dp.accounting.guarantee import EpsilonBounds
from quintain.dp.accounting.privacy_loss import CumulantFunction, Floats, History, PrivacyLoss

BOUND_GRID_ERROR, ESTIMATE_GRID_ERROR = 2e-3, 2e-2
"""Fraction of epsilon that the grid's error may take, memory allowing: for bounds, and for a quick
estimate.
"""
DELTA_FRACTION = 1e-3
"""Fraction of delta that the grid's error and the tails may each take."""
WINDOW_TAIL = 1e-12
"""Probability, of tilted sums, that may lie outside the window on either side."""
FFT_ROUNDING = 1e-15
"""Relative error of a transform, for each doubling of its length."""
MAX_LOG_WEIGHT_CHANGE = 300.0
"""Change of log weights between neighboring grid points above which the grid is useless and weights
overflow.
"""
MAX_GRID_POINTS, ESTIMATE_GRID_POINTS = 1 << 21, 1 << 17
"""Points of the grid at most: for bounds, and for a quick estimate."""


def prv_bounds(
    history: History, delta: float, *, grid_error: float = BOUND_GRID_ERROR, max_points: int = MAX_GRID_POINTS
) -> EpsilonBounds:
    r"""Two-sided bounds on the smallest epsilon of a composition of Poisson-sampled Gaussian steps.

    Each loss is rounded to a grid of step h that is shifted so that the mean is kept. Rounding errors then
    have mean zero, and with probability :math:`1 - \delta_0` all T together are below
    :math:`\eta = h \sqrt{T \log(1/\delta_0) / 2}` (Hoeffding), so that

    .. math:: \tilde\delta(\varepsilon + \eta) - \delta_0 \le \delta(\varepsilon)
        \le \tilde\delta(\varepsilon - \eta) + \delta_0

    The sum is computed under an exponential tilt that brings the tail in question towards the middle of the
    window. So errors of the transform, and what wraps around, count in proportion to delta even where that is
    1e-18; both are bounded and added.

    Args:
        history: Runs (noise multiplier, sample rate, steps); may differ.
        delta: In (0, 1).
        grid_error: Fraction of epsilon that the grid's error should take.
        max_points: Points that the grid may have.

    Guarantee: lower <= true epsilon <= upper, for the worse of adding and removing a record. Where the grid
    that memory allows is too coarse, as for noise multipliers below 0.01, the answer is wide, or (0, inf).

    Source: Gopi, Lee, Wutschitz, 2021, arXiv:2106.02848 (Theorem 5.5); the tilt brings in the moments of
    Abadi et al., 2016, arXiv:1607.00133.
    """
    history = merge_history(history)
    if not history:
        return EpsilonBounds(0.0, 0.0)
    if any(sigma == 0 for sigma, _, _ in history):
        return EpsilonBounds(math.inf, math.inf)
    history = merge_full_batch_steps(history)
    steps = sum(count for _, _, count in history)
    # all T steps together cut off a probability of at most 0.2 * DELTA_FRACTION * delta, 0.1 on each side
    tail = max(6.0, -float(ndtri(min(0.1 * DELTA_FRACTION * delta / steps, 0.1))))
    try:
        runs = [
            [(PrivacyLoss(sigma, rate, added, tail), count) for sigma, rate, count in history]
            for added in (False, True)
        ]
        sides = [_direction_bounds(direction, delta, grid_error, max_points) for direction in runs]
    except OverflowError:
        return EpsilonBounds(0.0, math.inf)
    return EpsilonBounds(max(side.lower for side in sides), max(side.upper for side in sides))


def estimate_epsilon(history: History, delta: float) -> float:
    """Return a quick estimate of epsilon, to about a thousandth.

    A start for searches, and no bound on either side.
    """
    bounds = prv_bounds(history, delta, grid_error=ESTIMATE_GRID_ERROR, max_points=ESTIMATE_GRID_POINTS)
    return (bounds.lower + bounds.upper) / 2


def merge_history(history: History) -> list[tuple[float, float, int]]:
    """The history in a fixed order, equal entries merged, entries without steps left out."""
    total: dict[tuple[float, float], int] = {}
    for sigma, rate, steps in history:
        total[sigma, rate] = total.get((sigma, rate), 0) + steps
    return [(sigma, rate, steps) for (sigma, rate), steps in sorted(total.items()) if steps]


def _direction_bounds(
    runs: list[tuple[PrivacyLoss, int]], delta: float, grid_error: float, max_points: int
) -> EpsilonBounds:
    """The bounds for one direction: the record is added, or it is removed."""
    # the tilt at which Chernoff's bound on the tail is delta puts the mean of the tilted sum near epsilon
    # (target_loss); half of that tilt keeps both the plain mean and the target within the window
    cumulants = CumulantFunction(runs)
    steps = sum(count for _, count in runs)
    tilt = cumulants.tilt_for_delta(delta)
    target_loss = cumulants(tilt)[1]
    tilt /= 2
    _, mean, variance = cumulants(tilt)
    # the window: the tilted sum leaves it with probability WINDOW_TAIL on either side; it must hold the
    # target
    below, above = cumulants.chernoff_distances(tilt, WINDOW_TAIL)
    above = max(above, target_loss - mean)
    loss_ranges = [loss.loss_range() for loss, _ in runs]
    widest = max(high - low for low, high in loss_ranges)
    # the coarsest grid whose Hoeffding error (eta, see ``prv_bounds``) is the wanted fraction of epsilon, but
    # not more points than allowed, for the window or for one step
    hoeffding_factor = math.sqrt(steps / 2 * math.log(1 / (DELTA_FRACTION * delta)))
    grid_step = max(
        grid_error * max(target_loss, math.sqrt(variance)) / hoeffding_factor,
        max(below + above, widest) / max_points,
    )
    if tilt * grid_step > MAX_LOG_WEIGHT_CHANGE:
        return EpsilonBounds(0.0, math.inf)
    num_points = fft.next_fast_len(math.ceil((below + above) / grid_step) + 2, real=True)

    # T-fold convolution: the transform to the power T; indices wrap modulo the window (counted by
    # WINDOW_TAIL)
    transform = np.ones(num_points // 2 + 1, dtype=np.complex128)
    log_scale = shift = tails = 0.0
    for (loss, count), (low, high), expected in zip(runs, loss_ranges, cumulants.mean_losses, strict=True):
        # each loss is rounded to the nearest point: cell k is [(k - 1/2) h, (k + 1/2) h]
        index = np.arange(math.floor(low / grid_step), math.ceil(high / grid_step) + 1)
        pmf = loss.cell_probabilities(grid_step * (np.arange(index[0], index[-1] + 2) - 0.5))
        # shift that gives the rounded loss the exact mean, so that rounding errors have mean zero; then
        # tilted weights ("- high" keeps exponents below 0), whose normalization is kept in logs
        offset = expected - grid_step * float(pmf @ index)
        weights = pmf * np.exp(tilt * (grid_step * index - high))
        total = float(weights.sum())
        transform *= (
            fft.rfft(np.bincount(index % num_points, weights=weights / total, minlength=num_points)) ** count
        )
        log_scale += count * (math.log(total) + tilt * (high + offset))
        shift += count * offset
        tails += count * loss.truncated_probability()

    # unwrap: the window begins at mean - below. Far below the target exp(-(1 + tilt)(y - target)) would
    # overflow, and delta there is of no interest
    start = math.floor((mean - below - shift) / grid_step)
    tilted_pmf = np.roll(fft.irfft(transform, num_points), -(start % num_points))
    values: Floats = grid_step * np.arange(start, start + num_points, dtype=np.float64) + shift
    in_float_range = values > target_loss - 600 / (1 + tilt)
    tilted_pmf, values = tilted_pmf[in_float_range], values[in_float_range]
    deltas = _tilted_deltas(tilted_pmf, values, tilt, log_scale, target_loss)
    # an absolute error e of the tilted probabilities moves delta(eps) by at most e exp(K - tilt eps) / (1 +
    # tilt), since exp(-tilt u)(1 - exp(-u)) <= 1 / (1 + tilt) for u >= 0; Hoeffding's exception counts twice,
    # though each side needs it once
    error = 2 * WINDOW_TAIL + _fft_rounding_error(transform, num_points, steps)
    delta_error = (
        np.exp(np.minimum(log_scale - tilt * values, 700)) / (1 + tilt) * error
        + 2 * DELTA_FRACTION * delta
        + tails
    )
    # eta, and the errors of the means by rounding and cut tails; all losses have the same tails
    epsilon_error = (
        hoeffding_factor * grid_step
        + steps * (FFT_ROUNDING * 10 + runs[-1][0].truncated_probability()) * widest
    )
    # the last epsilon at which delta is surely above, the first at which it is surely not; moved outwards
    return EpsilonBounds(
        max(float(values[deltas - delta_error > delta].max(initial=-math.inf)) - epsilon_error, 0.0),
        max(float(values[deltas + delta_error <= delta].min(initial=math.inf)) + epsilon_error, 0.0),
    )


def _fft_rounding_error(transform: npt.NDArray[np.complex128], num_points: int, steps: int) -> float:
    """A bound on the sum of rounding errors of the composed probabilities: transform, power and inverse."""
    # Parseval and Cauchy-Schwarz: the sum of absolute errors is at most the 2-norm of the spectrum's error;
    # sqrt(2), since rfft holds half of the spectrum; T errors by the power and one by the inverse
    return (
        FFT_ROUNDING * math.log2(num_points) * (steps + 1) * math.sqrt(2) * float(np.linalg.norm(transform))
    )


def _tilted_deltas(
    tilted_pmf: npt.NDArray[np.floating[Any]],
    values: Floats,
    tilt: float,
    log_scale: float,
    target_loss: float,
) -> Floats:
    r"""Delta at each of the values as epsilon, from tilted probabilities.

    .. math:: \delta(\varepsilon) = \sum_{y > \varepsilon} p(y) (1 - e^{\varepsilon - y}),
        \qquad p(y) \propto pmf(y)\, e^{-tilt\, y}

    by cumulative sums from the top, with exponents relative to ``target_loss`` so that they do not overflow.
    """
    above_target = values - target_loss
    above = np.cumsum((tilted_pmf * np.exp(-tilt * above_target))[::-1])[::-1]
    below = np.cumsum((tilted_pmf * np.exp(-(1 + tilt) * above_target))[::-1])[::-1]
    return math.exp(min(log_scale - tilt * target_loss, 700)) * (
        above - np.exp(np.minimum(above_target, 700)) * below
    )
