"""Epsilon from both sides by our own accountant: privacy losses on a grid, added up by Fourier transforms."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.special import ndtri

from quintain.dp.accounting.gaussian import one_step
from quintain.dp.accounting.guarantee import Bracket
from quintain.dp.accounting.losses import Cumulants, Floats, History, Loss

FINE, COARSE = 2e-3, 2e-2
"""Fraction of epsilon that the grid's error may take, memory allowing: for bounds, for a quick estimate."""
SHARE = 1e-3
"""Fraction of delta that the grid's error and the tails may each take."""
OUTSIDE = 1e-12
"""Probability, of tilted sums, that may lie outside the window on either side."""
ROUNDING = 1e-15
"""Relative error of a transform, for each doubling of its length."""
TOO_COARSE = 300.0
"""Change of the log weights from one point of the grid to the next, above which it tells nothing and weights would overflow."""
MOST_POINTS, FEW_POINTS = 1 << 21, 1 << 17
"""Points of the grid at most: for bounds, and for a quick estimate."""


def bracket(history: History, delta: float, *, relative: float = FINE, most: int = MOST_POINTS) -> Bracket:
    r"""Two-sided bounds on the smallest epsilon of a composition of Poisson-sampled Gaussian steps.

    Each loss is rounded to a grid whose mean is made the loss's own, so that errors add up like a random walk: with probability
    :math:`1 - \delta_0` all T together are below :math:`\eta = h \sqrt{T \log(1/\delta_0) / 2}` (Hoeffding), and

    .. math:: \tilde\delta(\varepsilon + \eta) - \delta_0 \le \delta(\varepsilon) \le \tilde\delta(\varepsilon - \eta) + \delta_0

    The sum is worked out under an exponential tilt that brings the tail in question towards the middle of the window, so that rounding in
    the transform, and what wraps around, count in proportion to delta even where that is 1e-18; both are bounded and added.

    Args:
        history: Runs (noise multiplier, sample rate, steps); may differ.
        delta: In (0, 1).
        relative: Fraction of epsilon that the grid's error should take.
        most: Points that the grid may have.

    Guarantee: lower <= true epsilon <= upper, of the worse of adding and removing a record; (0, inf) or a wide answer where the grid
    that bounded memory allows is too coarse, as for noise multipliers below 0.01.

    Source: Gopi, Lee, Wutschitz, 2021, arXiv:2106.02848; the tilt brings in the moments of Abadi et al., 2016, arXiv:1607.00133.
    """
    history = merged(history)
    if not history:
        return Bracket(0.0, 0.0)
    if any(sigma == 0 for sigma, _, _ in history):
        return Bracket(math.inf, math.inf)
    history = one_step(history)
    steps = sum(count for _, _, count in history)
    tail = max(6.0, -float(ndtri(min(0.1 * SHARE * delta / steps, 0.1))))
    try:
        runs = [[(Loss(sigma, rate, added, tail), count) for sigma, rate, count in history] for added in (False, True)]
        sides = [_side(direction, delta, relative, most) for direction in runs]
    except OverflowError:
        return Bracket(0.0, math.inf)
    return Bracket(max(side.lower for side in sides), max(side.upper for side in sides))


def estimate(history: History, delta: float) -> float:
    """Epsilon to about a thousandth, quickly, and no bound on either side: where a search starts."""
    found = bracket(history, delta, relative=COARSE, most=FEW_POINTS)
    return (found.lower + found.upper) / 2


def merged(history: History) -> list[tuple[float, float, int]]:
    """The history with equal runs merged, in a fixed order, and without runs of no steps."""
    total: dict[tuple[float, float], int] = {}
    for sigma, rate, steps in history:
        total[sigma, rate] = total.get((sigma, rate), 0) + steps
    return [(sigma, rate, steps) for (sigma, rate), steps in sorted(total.items()) if steps]


def _side(runs: list[tuple[Loss, int]], delta: float, relative: float, most: int) -> Bracket:
    """The bounds for one direction: the record is added, or it is removed."""
    # the tilt: at delta's saddle point the tilted sum has its mean near epsilon (aim); half of it keeps both
    # in the window
    cumulants = Cumulants(runs)
    steps = sum(count for _, count in runs)
    tilt = cumulants.saddle(delta)
    aim = cumulants(tilt)[1]
    tilt /= 2
    _, mean, variance = cumulants(tilt)
    # the window around the tilted mean, and a grid step that the Hoeffding error (eta, see ``bracket``)
    # allows
    below, above = cumulants.reach(tilt, OUTSIDE)
    above = max(above, aim - mean)
    spans = [loss.span() for loss, _ in runs]
    longest = max(high - low for low, high in spans)
    walk = math.sqrt(steps / 2 * math.log(1 / (SHARE * delta)))
    mesh = max(relative * max(aim, math.sqrt(variance)) / walk, max(below + above, longest) / most)
    if tilt * mesh > TOO_COARSE:
        return Bracket(0.0, math.inf)
    points = fft.next_fast_len(math.ceil((below + above) / mesh) + 2, real=True)

    # the distribution of the tilted sum: the product of the transforms of its parts, each to the power of its
    # steps
    transform = np.ones(points // 2 + 1, dtype=np.complex128)
    log_scale = shift = tails = 0.0
    for (loss, count), (low, high), expected in zip(runs, spans, cumulants.means, strict=True):
        index = np.arange(math.floor(low / mesh), math.ceil(high / mesh) + 1)
        mass = loss.mass(mesh * (np.arange(index[0], index[-1] + 2) - 0.5))
        # the shift that makes the mean on the grid the loss's own, then tilted weights, with the
        # normalization kept in logs
        offset = expected - mesh * float(mass @ index)
        weights = mass * np.exp(tilt * (mesh * index - high))
        total = float(weights.sum())
        transform *= fft.rfft(np.bincount(index % points, weights=weights / total, minlength=points)) ** count
        log_scale += count * (math.log(total) + tilt * (high + offset))
        shift += count * offset
        tails += count * loss.outside()

    # back to probabilities at the values of the sum, those dropped whose weights would overflow
    start = math.floor((mean - below - shift) / mesh)
    share = np.roll(fft.irfft(transform, points), -(start % points))
    values: Floats = mesh * np.arange(start, start + points, dtype=np.float64) + shift
    near = values > aim - 600 / (1 + tilt)
    share, values = share[near], values[near]
    found = _deltas(share, values, tilt, log_scale, aim)
    # what wraps around and what transforms round, without the tilt again; and how far epsilon is moved
    # outwards: eta and rounding (``loss.outside()`` is one number for all losses, which share their tail)
    error = 2 * OUTSIDE + _rounding(transform, points, steps)
    slack = np.exp(np.minimum(log_scale - tilt * values, 700)) / (1 + tilt) * error + 2 * SHARE * delta + tails
    away = walk * mesh + steps * (ROUNDING * 10 + loss.outside()) * longest
    return Bracket(
        max(float(values[found - slack > delta].max(initial=-math.inf)) - away, 0.0),
        max(float(values[found + slack <= delta].min(initial=math.inf)) + away, 0.0),
    )


def _rounding(transform: npt.NDArray[np.complex128], points: int, steps: int) -> float:
    """A bound on the sum of rounding errors of the composed probabilities: transform, power and inverse."""
    return ROUNDING * math.log2(points) * (steps + 1) * math.sqrt(2) * float(np.linalg.norm(transform))


def _deltas(share: npt.NDArray[np.floating[Any]], values: Floats, tilt: float, log_scale: float, aim: float) -> Floats:
    r"""Delta at each of the values as epsilon, from tilted probabilities.

    .. math:: \delta(\varepsilon) = \sum_{y > \varepsilon} p(y) (1 - e^{\varepsilon - y}),
        \qquad p(y) \propto share(y)\, e^{-tilt\, y}

    by cumulated sums from the top, with exponents taken relative to ``aim`` so that they do not overflow.
    """
    away = values - aim
    above = np.cumsum((share * np.exp(-tilt * away))[::-1])[::-1]
    below = np.cumsum((share * np.exp(-(1 + tilt) * away))[::-1])[::-1]
    return math.exp(min(log_scale - tilt * aim, 700)) * (above - np.exp(np.minimum(away, 700)) * below)
