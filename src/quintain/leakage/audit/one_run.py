r"""Privacy audit with one training run: a lower bound on epsilon from ``m`` canaries at once.

Each canary is included or excluded by its own fair coin. The auditor sees only the released values, gives
each canary a score, and guesses for r of the m canaries whether they were included: those with the r/2
largest scores as included, the r/2 smallest as excluded. Under :math:`(\varepsilon, \delta)`-DP the number of
correct guesses is bounded (Steinke et al., 2023, theorem 5.2); more correct guesses refute that epsilon. The
values of r are fixed in advance (``GUESS_DIVISORS``), and the error probability is divided among them
(Bonferroni).
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc

from quintain.core.errors import SettingError
from quintain.core.registry import declare
from quintain.core.seeds import derive_seed
from quintain.core.statistics import check_confidence
from quintain.leakage.audit.canary_checks import check_canaries
from quintain.results.bounds import Bound
from quintain.results.evidence import ConfidenceLevels
from quintain.results.quantity import Basis, Metric, Quantity, Side

GUESS_DIVISORS = (16, 8, 4, 2)
"""Besides all ``m`` canaries, ``m/16``, ``m/8``, ``m/4`` and ``m/2`` of them are guessed."""

EXTRA_CONFIDENCES = (0.95, 0.99, 0.999, 1 - 1e-6, 1 - 1e-8)
"""Confidences at which every bound is computed, besides the requested one."""

LARGEST_ERROR = 0.5
"""Error probabilities above this are refused: ``p_value`` need not be a bound there."""

_MAX_EPSILON = 64.0

_MIN_VARIANCE_RATIO = 1e-6
"""Smallest variance of a group of scores, over that of all, since a group may hold a single value."""


@dataclass(frozen=True, slots=True)
class OneRunAudit:
    """The bound of one audit, and the largest one that it could have given.

    Args:
        bound: The lower bound on epsilon, at the requested confidence and at the higher ones.
        max_auditable_epsilon: The bound that this many canaries give when every guess is correct: no audit of
            this size can contradict a larger claim.
        canaries: m, included and excluded.
        guesses: r, the number of guesses where the bound is best.
        correct: How many of these guesses were correct.
        confidence: Of the bound's value.
    """

    bound: Bound
    max_auditable_epsilon: float
    canaries: int
    guesses: int
    correct: int
    confidence: float

    @property
    def epsilon(self) -> float:
        """The bound's value."""
        return self.bound.value


@declare(
    name="one-run",
    summary="a lower bound on epsilon from the canaries of one training run",
    guarantee="exceeds the true epsilon with probability at most 1 - confidence, "
    "if the inclusion coins are fair and independent",
    kind="audit",
    default_rank=1,
)
def audit_one_run(
    scores: ArrayLike,
    included: ArrayLike,
    *,
    delta: float = 1e-5,
    confidence: float = 0.95,
    seed: int = 0,
    quantity: Quantity | None = None,
) -> OneRunAudit:
    r"""Compute a lower bound on epsilon from the canaries' scores and from whether each was included.

    The bound is the largest :math:`\varepsilon` at which so many correct guesses refute
    :math:`(\varepsilon, \delta)`-DP (see ``p_value``), over the fixed numbers of guesses of
    ``GUESS_DIVISORS``; half of the error probability goes to the guess of all canaries, the rest is divided
    evenly (Bonferroni). The guesses depend on the scores alone, never on which canary was included: for
    ``r < m`` the ``r/2`` largest are guessed as included and the ``r/2`` smallest as excluded. For ``r = m``
    all canaries are guessed: the sorted scores are cut in two where two Gaussians fit best (maximum
    likelihood), and the cut is at most four standard deviations of Binomial(m, 1/2) away from m/2.

    Args:
        scores: One for each canary (m,), all computed in the same way; larger means more likely included.
        included: Whether each canary was included (m,) bool, in the order of the scores. That order must not
            depend on the coins (the order in which canaries were made): sorted by inclusion, it would break
            ties in favor of the guesser.
        delta: The delta of the epsilon; keep ``m * delta`` far below ``1 - confidence``.
        confidence: One-sided: the bound exceeds the true epsilon with probability at most ``1 - confidence``;
            at least 1/2.
        seed: Breaks ties, by noise that is independent of inclusion; choose it before the scores are seen.
        quantity: The quantity that is bounded; add/remove adjacency of one record if not given.

    A mechanism may leak everything with probability delta, so that no audit shows anything at a confidence
    above about ``1 - 4 delta``.

    Guarantee: holds for any dependence between scores (one run, interfering canaries), for any score computed
    from what is released. It assumes that each canary was included by its own independent fair coin, which
    the scores cannot prove; exactly half of them included, or a choice of canaries by their scores, is
    another experiment.

    Raises:
        DataError: For NaN or infinite scores, coins that are no list of as many booleans, or numbers of
            included canaries that fair coins do not give.
        SettingError: For a delta or confidence out of range, or a quantity with another delta.

    Source: Steinke, Nasr and Jagielski, 2023, arXiv:2305.08846, theorem 5.2.
    """
    check_confidence(confidence)
    values, coins = check_canaries(scores, included)
    quantity = (
        Quantity(Metric.EPSILON, delta=delta, adjacency="add/remove", privacy_unit="record")
        if quantity is None
        else quantity
    )
    if quantity.delta != delta:
        raise SettingError(
            f"delta = {delta}, but the quantity has delta = {quantity.delta}; give the same one to both"
        )
    counts = tuple(count_correct_guesses(values, coins, seed=seed))
    m = len(coins)
    confidences = (confidence, *(level for level in EXTRA_CONFIDENCES if level > confidence))
    levels = tuple(_best_bound(m, counts, delta, level)[0] for level in confidences)
    value, guesses, correct = _best_bound(m, counts, delta, confidence)
    bound = Bound(
        quantity,
        Side.LOWER,
        value,
        Basis.STATISTICAL,
        ConfidenceLevels(confidences, levels),
        method=f"one-run audit, {m} canaries",
        assumptions=("inclusion coins fair and independent", "scores computed from what is released alone"),
    )
    return OneRunAudit(
        bound=bound,
        max_auditable_epsilon=max_auditable_epsilon(m, delta=delta, confidence=confidence),
        canaries=m,
        guesses=guesses,
        correct=correct,
        confidence=confidence,
    )


def max_auditable_epsilon(canaries: int, *, delta: float = 1e-5, confidence: float = 0.95) -> float:
    """Compute the bound of ``audit_one_run`` if every guess is correct, the largest for so many canaries."""
    return _best_bound(
        canaries, [(r, r) for r in numbers_of_guesses(canaries)], delta, check_confidence(confidence)
    )[0]


def numbers_of_guesses(canaries: int) -> tuple[int, ...]:
    """Return the numbers of guesses that are tried: all canaries, then falling even numbers."""
    return (
        canaries,
        *sorted({2 * (canaries // (2 * share)) for share in GUESS_DIVISORS} - {0, canaries}, reverse=True),
    )


def count_correct_guesses(
    scores: NDArray[np.float64], included: NDArray[np.bool_], *, seed: int
) -> Iterator[tuple[int, int]]:
    """Yield (guesses, correct guesses) for each number of guesses; inclusion is read only to count."""
    # Sort by score, ties by noise; guess excluded below, included above.
    m = len(scores)
    order = np.lexsort((_tie_breakers(m, seed), scores))
    coins, split_at = included[order], _two_gaussian_split(scores[order])
    for r in numbers_of_guesses(m):
        low, high = (split_at, split_at) if r == m else (r // 2, m - r // 2)
        yield r, int((~coins[:low]).sum() + coins[high:].sum())


def p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    r"""Bound the probability of at least ``correct`` correct guesses under :math:`(\varepsilon, \delta)`-DP.

    It is the p-value of the null hypothesis that the mechanism is :math:`(\varepsilon, \delta)`-DP:

    .. math:: B(v) + 2 m \delta \max_{1 \le i \le v} \frac{B(v - i) - B(v)}{i},
              \quad B(j) = P[\mathrm{Bin}(r, \tfrac{1}{1 + e^{-\varepsilon}}) \ge j]

    Args:
        canaries: m, all of them, guessed or not.
        guesses: r.
        correct: v.
        epsilon, delta: The privacy that is tested.

    Guarantee: no private mechanism exceeds a value of 1/2 or less. Near 1 the formula falls short: of three
    coins at epsilon = 0 and delta = 0.01, at least one is guessed right with probability up to 0.88375, where
    it gives 0.8825. Audits use it at ``1 - confidence`` and below alone, and ask for a confidence of at least
    1/2.

    Source: Steinke, Nasr and Jagielski, 2023, arXiv:2305.08846, theorem 5.2; the largest probability there
    is, for a comparison, is a linear program over mechanisms that treat all canaries alike
    (``tests/leakage``).
    """
    if correct == 0:
        return 1.0
    # tails[j] = B(j), by the incomplete beta function; [-2::-1] pairs i = 1 .. v with tails[v - i].
    right = np.arange(1.0, correct + 1)
    tails = np.concatenate([[1.0], betainc(right, guesses - right + 1, 1 / (1 + math.exp(-epsilon)))])
    slope = np.max((tails[-2::-1] - tails[-1]) / right)
    return min(1.0, float(tails[-1] + 2 * canaries * delta * slope))


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
        SettingError: For counts that are not ``0 <= correct <= guesses <= canaries``, a delta outside [0, 1),
            or an error probability above 1/2, where ``p_value`` is no bound.
    """
    if not 0 <= correct <= guesses <= canaries or guesses == 0:
        raise SettingError(
            f"{correct} correct of {guesses} guesses on {canaries} canaries; expected 0 <= correct <= "
            "guesses <= canaries"
        )
    if not 0 <= delta < 1:
        raise SettingError(f"delta = {delta}; expected a probability far below 1 / canaries, such as 1e-5")
    if error_probability > LARGEST_ERROR:
        raise SettingError(
            f"an error of {error_probability:g}; expected at most {LARGEST_ERROR:g}, "
            "that is, a confidence of at least as much: 0.95 is usual"
        )
    if p_value(canaries, guesses, correct, 0.0, delta) > error_probability:
        return 0.0
    # Bisection to 64 / 2^40; the refuted end is returned, so that the bound errs downwards.
    refuted, not_refuted = 0.0, _MAX_EPSILON
    for _ in range(40):
        middle = (refuted + not_refuted) / 2
        if p_value(canaries, guesses, correct, middle, delta) <= error_probability:
            refuted = middle
        else:
            not_refuted = middle
    return refuted


def _best_bound(
    canaries: int, counts: Iterable[tuple[int, int]], delta: float, confidence: float
) -> tuple[float, int, int]:
    """Return the best bound over all numbers of guesses, with its guesses and the correct ones."""
    counts = tuple(counts)
    error_split = _error_split(len(counts))
    tried = [
        (epsilon_lower_bound(canaries, r, right, delta, (1 - confidence) * share), r, right)
        for (r, right), share in zip(counts, error_split, strict=True)
    ]
    return max(tried, key=lambda entry: entry[0])


def _error_split(tests: int) -> tuple[float, ...]:
    """Split the error probability over the tests: half for the first, the rest evenly."""
    return (1.0,) if tests == 1 else (0.5, *[0.5 / (tests - 1)] * (tests - 1))


def _tie_breakers(canaries: int, seed: int) -> NDArray[np.float64]:
    """Draw noise that orders equal scores, independent of inclusion as long as the canaries' order is."""
    return np.random.default_rng(derive_seed(seed, "one-run", "ties")).random(canaries)


def _two_gaussian_split(ordered: NDArray[np.float64]) -> int:
    """Return how many of the sorted scores are guessed as excluded.

    It is the split where two Gaussians fit best.
    """
    # Maximum likelihood by prefix sums: minimize n1 log var1 + n2 log var2; splits nearest to m/2 come first,
    # so that ties go to the middle; the floor keeps the logarithm finite for equal scores.
    m = len(ordered)
    window = int(2 * math.sqrt(m))
    below = np.array(
        sorted(
            range(max(1, m // 2 - window), min(m - 1, (m + 1) // 2 + window) + 1),
            key=lambda k: abs(2 * k - m),
        )
    )
    scaled = ordered / (np.abs(ordered).max() or 1.0)
    scaled -= scaled.mean()
    sums, squares = np.cumsum(scaled), np.cumsum(scaled**2)
    floor = _MIN_VARIANCE_RATIO * squares[-1] / m or 1.0

    def negative_log_likelihood(
        count: NDArray[np.int64], total: NDArray[np.float64], square: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        spread = np.maximum(square / count - (total / count) ** 2, 0) + floor
        return np.asarray(count * np.log(spread), dtype=np.float64)

    low = negative_log_likelihood(below, sums[below - 1], squares[below - 1])
    high = negative_log_likelihood(m - below, sums[-1] - sums[below - 1], squares[-1] - squares[below - 1])
    return int(below[np.argmin(low + high)])
