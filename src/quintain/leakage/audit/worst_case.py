r"""The largest probability with which guesses of a private mechanism's coins are right.

A mechanism is :math:`(\varepsilon, \delta)`-private in each of m fair coins, which a guesser sees no more of
than its output; it guesses all coins, the surest first. Write :math:`x \in \{0, 1\}^m` for which guesses are
right, in that order, F for its law and b for that of independent guesses that are right with probability
:math:`q = 1 / (1 + e^{-\varepsilon})`, and :math:`f = F / b`. Turning the coin of one guess turns x in one
place, so that adding up the m conditions, over outputs and coins, gives

.. math:: \sum_k E_b\big[x_k\, (f(x) - f(x \oplus k))_+\big] \le m \delta

Of events that more right guesses keep, none is likelier than under an increasing f (replacing f by its mean
where turning one place decreases it neither raises a term nor takes mass off the event), and an increasing f
is a mixture of conditional laws :math:`1_A / b(A)` of increasing events A, each at the cost
:math:`\kappa(A) = E_b[\text{right guesses that A turns on} \mid A]`. So the largest probability of U is the
concave envelope of :math:`(\kappa(A), b(U \mid A))` at :math:`m \delta`.

Source: this formulation is worked out here from the condition of Steinke, Nasr and Jagielski, 2023,
arXiv:2305.08846, whose theorem 5.2 is a looser bound; brute force over all mechanisms agrees with it
(``tests/leakage/audit``). The inequality for ``joint_p_value`` is the edge-isoperimetric one of biased cubes
(Kahn and Kalai, 2007, arXiv:math/0603218).
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import betainc, gammaln, logsumexp, xlogy

from quintain.core.errors import SettingError

MAX_EPSILON = 64.0
"""No audit shows more."""

_STEP = 1e-7
"""How far below the largest refuted epsilon the bound may lie."""

_ROUNDING, _ROUNDING_PER_CANARY = 1e-9, 1e-13
"""Relative error of a probability, far above that of what is behind it: all are rounded up by it."""

_NEGLIGIBLE = 1e-40
"""Smaller probabilities are left out of sums, and ``_LEFT_OUT`` is added for all of them."""

_LEFT_OUT = 1e-30

_LOGARITHM_FROM = 1e-20
"""The logarithm of a smaller sum is bounded without it, since what was left out would decide it."""


def p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    r"""Compute the largest probability of at least ``correct`` correct guesses of a private mechanism.

    It is the p-value of the null hypothesis that the mechanism is :math:`(\varepsilon, \delta)`-DP, and no
    smaller one is right:

    .. math:: B + (1 - B) \min\Big(1, \frac{m \delta}{\kappa}\Big), \qquad
        \kappa = \frac{v\, P[\mathrm{Bin}(r, q) = v]}{B}, \quad
        B = P[\mathrm{Bin}(r, q) \ge v], \quad q = \frac{1}{1 + e^{-\varepsilon}}

    The worst mechanism tells each coin with probability q, and with probability :math:`m \delta / \kappa`
    it does so under the condition that v of r guesses come out right.

    Args:
        canaries: m, all of them, guessed or not.
        guesses: r, a number that was fixed beforehand.
        correct: v.
        epsilon, delta: The privacy that is tested.

    Guarantee: of all mechanisms that are private in each coin, and all guessers, none is right so often with
    a larger probability, and one attains it: a condition "at least j right" adds less for what it costs where
    j < v, since :math:`(1 - B_j) / (j b_j)` rises in j, and where j > v it costs more and adds nothing. It is
    rounded up by a billionth.

    Source: see the module; Steinke, Nasr and Jagielski, 2023, arXiv:2305.08846, theorem 5.2, is above it.
    """
    if correct == 0:
        return 1.0
    binomial = float(betainc(correct, guesses - correct + 1, 1 / (1 + math.exp(-epsilon))))
    # B / b_v = 1 + sum of products of b_{j+1} / b_j = (r - j) / (j + 1) e^epsilon, all positive.
    above = np.arange(correct, guesses)
    with np.errstate(over="ignore"):
        ratio = 1 + float(np.cumprod((guesses - above) / (above + 1) * np.exp(epsilon)).sum())
    failure = min(1.0, canaries * delta * ratio / correct)
    return _round_up(binomial + (1 - binomial) * failure, canaries)


def joint_p_value(
    canaries: int, guesses: Sequence[int], thresholds: Sequence[int], epsilon: float, delta: float
) -> float:
    r"""Bound the probability that any of several numbers of guesses reaches its threshold.

    .. math:: U = \bigcup_r \{V_r \ge v_r\}, \qquad
        P[U] \le b(U) + (1 - b(U)) \min\Big(1, m \delta\, \frac{\ln (1/q)}{\ln (1 / b(U))}\Big)

    with :math:`V_r` the right ones of the surest r guesses, which are the first r of one sequence, so that
    b(U) is found exactly, step by step. Conditions are on increasing events A, and for these
    :math:`\kappa(A) \ge \ln b(A) / \ln q` (with equality where A says that k given guesses are right), while
    :math:`b(U \mid A) \le b(U) / b(A)`.

    Args:
        canaries: m.
        guesses: Numbers r, rising, fixed beforehand.
        thresholds: For each, how many must be right; one above r is never reached.
        epsilon, delta: The privacy that is tested.

    Guarantee: no private mechanism reaches any of the thresholds with a larger probability; with delta = 0,
    or a single threshold of r = v, one attains it.
    """
    binomial = _union(guesses, thresholds, epsilon)
    if binomial >= 1:
        return 1.0
    log_binomial = (
        math.log(binomial) if binomial > _LOGARITHM_FROM else _log_chernoff(guesses, thresholds, epsilon)
    )
    fewest_conditions = log_binomial / -math.log1p(math.exp(-epsilon))
    return _round_up(binomial + (1 - binomial) * min(1.0, canaries * delta / fewest_conditions), canaries)


@lru_cache(maxsize=4096)
def epsilon_lower_bound(
    canaries: int, guesses: int, correct: int, delta: float, error_probability: float
) -> float:
    """Return the largest epsilon that the correct guesses refute; or 0.

    The bound is for one number of guesses that is fixed in advance.

    Args:
        canaries, guesses, correct: m, r and v of ``p_value``.
        delta: The delta of the epsilon.
        error_probability: The probability with which the result may exceed the true epsilon.

    Raises:
        SettingError: For counts that are not ``0 <= correct <= guesses <= canaries``, or a delta outside
            [0, 1).
    """
    if not 0 <= correct <= guesses <= canaries or guesses == 0:
        raise SettingError(
            f"{correct} correct of {guesses} guesses on {canaries} canaries; expected 0 <= correct <= "
            "guesses <= canaries"
        )
    check_delta(delta)
    return largest_refuted(
        lambda epsilon: p_value(canaries, guesses, correct, epsilon, delta), error_probability
    )


def check_delta(delta: float) -> float:
    """Return ``delta`` unchanged, if it lies in [0, 1).

    Raises:
        SettingError: Otherwise.
    """
    if not 0 <= delta < 1:
        raise SettingError(f"delta = {delta}; expected a probability far below 1 / canaries, such as 1e-5")
    return delta


def largest_refuted(
    p_value_at: Callable[[float], float], error_probability: float, tries: Sequence[float] = ()
) -> float:
    """Return an epsilon whose p-value is at most ``error_probability``, near the largest such one; or 0.

    Whatever the p-values are bounds of rises with epsilon, since all that is private at one is private at a
    larger one: an epsilon that is refuted refutes all below it, also where the bounds themselves do not rise.

    Args:
        p_value_at: Bound on the p-value at an epsilon.
        error_probability: The probability with which the result may exceed the true epsilon.
        tries: Where else to look for a refuted epsilon, if 0 is not refuted by its own bound.
    """
    start = next((epsilon for epsilon in (0.0, *tries) if p_value_at(epsilon) <= error_probability), None)
    if start is None:
        return 0.0
    not_refuted = start + 1
    while p_value_at(not_refuted) <= error_probability:
        start, not_refuted = not_refuted, 2 * not_refuted
        if start >= MAX_EPSILON:
            return MAX_EPSILON
    # Logarithms of p-values are nearly straight lines. The end is refuted, so that the bound errs downwards.
    root = brentq(
        lambda epsilon: math.log(max(p_value_at(epsilon), 1e-300) / error_probability),
        start,
        not_refuted,
        xtol=_STEP,
    )
    refuted = float(root) - 2 * _STEP
    return refuted if refuted > start and p_value_at(refuted) <= error_probability else start


def _union(guesses: Sequence[int], thresholds: Sequence[int], epsilon: float) -> float:
    """P[some V_r >= v_r] where each guess is right with probability q on its own, rounded up."""
    # The law of V_r where no threshold was reached yet, from `first` on; what reaches one is taken out.
    law, first, before, reached = np.ones(1), 0, 0, 0.0
    for r, threshold in zip(guesses, thresholds, strict=True):
        more, fewest = _binomial_law(r - before, epsilon)
        law, first, before = np.convolve(law, more), first + fewest, r
        reached += float(law[max(threshold - first, 0) :].sum())
        law = law[: max(threshold - first, 0)]
        if not len(law):
            return 1.0
        kept = np.flatnonzero(law > _NEGLIGIBLE)
        if not len(kept):
            break
        law, first = law[kept[0] : kept[-1] + 1], first + int(kept[0])
    return min(1.0, reached + _LEFT_OUT)


def _log_chernoff(guesses: Sequence[int], thresholds: Sequence[int], epsilon: float) -> float:
    """Bound the logarithm of P[some V_r >= v_r] from above, by r KL(v_r / r || q) for each r."""
    r, v = np.array(guesses, dtype=float), np.array(thresholds, dtype=float)
    r, v = r[v <= r], v[v <= r]
    log_q = -math.log1p(math.exp(-epsilon))
    log_other = log_q - epsilon
    divergence = xlogy(v, v / r) + xlogy(r - v, (r - v) / r) - v * log_q - (r - v) * log_other
    return float(logsumexp(-np.where(v / r > math.exp(log_q), divergence, 0.0)))


@lru_cache(maxsize=1024)
def _binomial_law(trials: int, epsilon: float) -> tuple[NDArray[np.float64], int]:
    """Return the probabilities of Binomial(trials, q) that are not negligible, and the count of the first."""
    right = np.arange(trials + 1.0)
    choices = gammaln(trials + 1) - gammaln(right + 1) - gammaln(trials - right + 1)
    # q^k (1 - q)^(n - k) = e^(k epsilon) / (1 + e^epsilon)^n: nothing cancels for q near 1.
    law = np.exp(choices + right * epsilon - trials * np.logaddexp(0.0, epsilon))
    kept = np.flatnonzero(law > _NEGLIGIBLE)
    law = law[kept[0] : kept[-1] + 1]
    law.setflags(write=False)
    return law, int(kept[0])


def _round_up(probability: float, canaries: int) -> float:
    return min(1.0, probability * (1 + _ROUNDING + _ROUNDING_PER_CANARY * canaries))
