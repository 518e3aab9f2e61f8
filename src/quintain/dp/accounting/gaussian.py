"""The Gaussian mechanism without sampling: delta in closed form, and many steps as one with less noise."""

import math

from scipy.optimize import brentq
from scipy.special import log_ndtr

from quintain.dp.accounting.privacy_loss import History

EPSILON_MARGIN = 1e-9
"""How much epsilon is raised, relatively, to cover rounding."""


def merge_full_batch_steps(history: History) -> list[tuple[float, float, int]]:
    r"""The history with all full-batch steps (sample rate 1) merged into one, which stands last.

    Gaussian mechanisms compose exactly:

    .. math:: \sigma^{-2} = \sum_t \sigma_t^{-2}
    """
    total = sum(steps / sigma**2 for sigma, rate, steps in history if rate == 1)
    rest = [run for run in history if run[1] < 1]
    return [*rest, (1 / math.sqrt(total), 1.0, 1)] if total else rest


def log_delta(epsilon: float, sigma: float) -> float:
    r"""Log of the exact delta of the Gaussian mechanism of sensitivity 1.

    .. math:: \delta = \Phi(1 / 2\sigma - \varepsilon\sigma)
        - e^\varepsilon\, \Phi(-1 / 2\sigma - \varepsilon\sigma)

    Source: Balle, Wang, 2018, arXiv:1805.06530, Theorem 8.
    """
    first = float(log_ndtr(0.5 / sigma - epsilon * sigma))
    second = epsilon + float(log_ndtr(-0.5 / sigma - epsilon * sigma))
    return first + math.log(-math.expm1(second - first)) if second < first else -math.inf


def gaussian_epsilon(sigma: float, delta: float) -> float:
    """The epsilon at which ``log_delta`` reaches ``delta``, rounded up; 0 if delta alone is enough."""
    target = math.log(delta)
    if log_delta(0.0, sigma) <= target:
        return 0.0
    # by concentration of the loss, N(1 / 2 sigma^2, 1 / sigma^2): delta at this epsilon is below the target
    high = 0.5 / sigma**2 + math.sqrt(2 * math.log(1 / delta)) / sigma
    # log_delta is -inf where delta is 0: the search needs finite values
    root = float(
        brentq(
            lambda at: max(log_delta(at, sigma), -1e9) - target,
            0.0,
            high,
            xtol=1e-300,
            rtol=1e-12,
            maxiter=500,
        )
    )
    return root * (1 + EPSILON_MARGIN)
