r"""How much privacy one training run has lost for certain: a lower bound on epsilon from ``m`` canaries at once.

Each canary is trained on or left out by its own fair coin. Whoever sees only what is released, and guesses ``r`` of the coins, is right
more often than differential privacy allows, or is not. What counts as a guess is fixed in advance (``GRID``): the largest scores are
guessed in, the smallest out; several ``r`` are tried, and each pays its share of the error.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc

from quintain.core.errors import DataError, SettingError
from quintain.core.seeds import derive
from quintain.core.statistics import binomial_interval, check_confidence
from quintain.results.bounds import Bound
from quintain.results.evidence import ConfidenceLevels
from quintain.results.quantity import Basis, Metric, Quantity, Side

GRID = (16, 8, 4, 2)
"""Besides all ``m`` coins, ``m/16``, ``m/8``, ``m/4`` and ``m/2`` of them are guessed."""

STORED = (0.95, 0.99, 0.999, 1 - 1e-6, 1 - 1e-8)
"""Confidences at which every bound is worked out, besides the one asked for."""

UNFAIR = 1e-9
"""Arms whose sizes fair coins give with less probability than this are refused."""

SORTED = 40
"""So many coins or more never come out sorted: the probability is below 1e-10."""

LARGEST_ERROR = 0.5
"""Errors above this are refused: there ``chance`` need not be a bound."""

_HIGHEST = 64.0

_FLOOR = 1e-6
"""The least variance of a group of scores, over that of all: a group may be a single value."""


@dataclass(frozen=True, slots=True)
class OneRunAudit:
    """What one audit showed, and what it could have shown.

    Args:
        bound: The lower bound on epsilon, at the confidence asked for first and then at the higher ones.
        ceiling: The bound that this many canaries give when every guess is right: no audit of this size can contradict a larger claim.
        canaries: m, those trained on and those left out.
        guesses: r, how many coins were guessed where the bound is best.
        correct: How many of these guesses were right.
        confidence: Of the bound's value.
    """

    bound: Bound
    ceiling: float
    canaries: int
    guesses: int
    correct: int
    confidence: float

    @property
    def epsilon(self) -> float:
        """The bound's value."""
        return self.bound.value


def audit_one_run(
    scores: ArrayLike,
    included: ArrayLike,
    *,
    delta: float = 1e-5,
    confidence: float = 0.95,
    seed: int = 0,
    of: Quantity | None = None,
) -> OneRunAudit:
    r"""A lower bound on epsilon from each canary's score, and from whether it was trained on.

    The bound is the largest :math:`\varepsilon` at which the right guesses are too many for an :math:`(\varepsilon, \delta)`-private
    mechanism (see ``chance``), over the fixed numbers of guesses of ``GRID``; half of the error goes to the guess of all coins, the rest
    is shared evenly (Bonferroni). The guesses use pooled scores alone: for ``r < m`` the ``r/2`` largest are guessed in and the ``r/2``
    smallest out; for ``r = m`` the pooled scores are cut into the two likeliest Gaussian groups, within four standard deviations of
    the middle.

    Args:
        scores: One for each canary (m,), all computed in the same way; larger means more likely trained on.
        included: Whether each canary was trained on (m,) bool, in the order of the scores. That order must not depend on the coins (the
            order in which canaries were made): sorted by membership, the order would break ties in favour of the guesser.
        delta: The delta of the epsilon; keep ``m * delta`` far below ``1 - confidence``.
        confidence: One-sided: the bound exceeds the true epsilon with probability at most ``1 - confidence``; at least 1/2.
        seed: Breaks ties, by noise that membership has no part in; choose it before the scores are seen.
        of: The quantity that is bounded; add/remove adjacency of one record if not given.

    A mechanism may leak everything with probability delta, so that no audit shows anything at a confidence above about ``1 - 4 delta``.

    Guarantee: holds for any dependence between scores (one run, interfering canaries), for any score computed from what is released.
    It assumes that each canary was in by its own independent fair coin, which the scores cannot prove; exactly half of them in, or a
    choice of canaries by their scores, is another experiment.

    Raises:
        DataError: For NaN or infinite scores, coins that are no list of as many booleans, or groups of sizes that fair coins do not give.
        SettingError: For a delta or confidence out of range, or a quantity with another delta.

    Source: Steinke, Nasr and Jagielski, 2023, arXiv:2305.08846, theorem 5.2.
    """
    check_confidence(confidence)
    values, coins = _scores(scores), _coins(included)
    if len(values) != len(coins):
        raise DataError(f"{len(values)} scores and {len(coins)} coins; expected one of each for every canary, in the same order")
    _check_order(values, coins)
    quantity = Quantity(Metric.EPSILON, delta=delta, adjacency="add/remove", privacy_unit="record") if of is None else of
    if quantity.delta != delta:
        raise SettingError(f"delta = {delta}, but the quantity has delta = {quantity.delta}; give the same one to both")
    counts = tuple(right_guesses(values, coins, seed=seed))
    m = len(coins)
    confidences = (confidence, *(level for level in STORED if level > confidence))
    levels = tuple(_best(m, counts, delta, level)[0] for level in confidences)
    value, guesses, correct = _best(m, counts, delta, confidence)
    bound = Bound(
        quantity,
        Side.LOWER,
        value,
        Basis.STATISTICAL,
        ConfidenceLevels(confidences, levels),
        method=f"one-run audit, {m} canaries",
        assumptions=("inclusion coins fair and independent", "scores computed from what is released alone"),
    )
    return OneRunAudit(bound, ceiling(m, delta=delta, confidence=confidence), m, guesses, correct, confidence)


def ceiling(canaries: int, *, delta: float = 1e-5, confidence: float = 0.95) -> float:
    """The bound that ``audit_one_run`` gives when every guess is right: the most that this many canaries can show."""
    return _best(canaries, [(r, r) for r in guess_counts(canaries)], delta, check_confidence(confidence))[0]


def guess_counts(canaries: int) -> tuple[int, ...]:
    """The numbers of guesses that are tried, falling: all canaries first, then even numbers near their shares in ``GRID``."""
    return (canaries, *sorted({2 * (canaries // (2 * share)) for share in GRID} - {0, canaries}, reverse=True))


def right_guesses(scores: NDArray[np.float64], included: NDArray[np.bool_], *, seed: int) -> Iterator[tuple[int, int]]:
    """For each number of guesses, (guesses, right ones); the coins are read only to count."""
    m = len(scores)
    order = np.lexsort((_tie_breakers(m, seed), scores))
    coins, cut = included[order], _cut(scores[order])
    for r in guess_counts(m):
        low, high = (cut, cut) if r == m else (r // 2, m - r // 2)
        yield r, int((~coins[:low]).sum() + coins[high:].sum())


def chance(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    r"""A bound on the probability of at least ``correct`` right guesses under :math:`(\varepsilon, \delta)`-privacy, where it is small.

    .. math:: B(v) + 2 m \delta \max_{1 \le i \le v} \frac{B(v - i) - B(v)}{i},
              \quad B(j) = P[\mathrm{Bin}(r, \tfrac{1}{1 + e^{-\varepsilon}}) \ge j]

    Args:
        canaries: m, all of them, guessed or not.
        guesses: r.
        correct: v.
        epsilon, delta: The privacy that is put to the test.

    Guarantee: no private mechanism exceeds a value of 1/2 or less. Near 1 the formula falls short: of three coins at epsilon = 0 and
    delta = 0.01, at least one is guessed right with probability up to 0.88375, where it gives 0.8825. Audits use it at
    ``1 - confidence`` and below alone, and ask for a confidence of at least 1/2.

    Source: Steinke, Nasr and Jagielski, 2023, arXiv:2305.08846, theorem 5.2; the largest probability there is, for a comparison, is a
    linear program over mechanisms that treat all canaries alike (``tests/leakage``).
    """
    if correct == 0:
        return 1.0
    right = np.arange(1.0, correct + 1)
    tails = np.concatenate([[1.0], betainc(right, guesses - right + 1, 1 / (1 + math.exp(-epsilon)))])
    slope = np.max((tails[-2::-1] - tails[-1]) / right)
    return min(1.0, float(tails[-1] + 2 * canaries * delta * slope))


@lru_cache(maxsize=4096)
def epsilon_at(canaries: int, guesses: int, correct: int, delta: float, error: float) -> float:
    """The largest epsilon that so many right guesses refute at an error probability, for one number of guesses fixed in advance; or 0.

    Args:
        canaries, guesses, correct: m, r and v of ``chance``.
        delta: The delta of the epsilon.
        error: The probability with which the result may exceed the true epsilon.

    Raises:
        SettingError: For counts that are not ``0 <= correct <= guesses <= canaries``, a delta outside [0, 1), or an error above 1/2, where
            ``chance`` is no bound.
    """
    if not 0 <= correct <= guesses <= canaries or guesses == 0:
        raise SettingError(f"{correct} right of {guesses} guesses on {canaries} canaries; expected 0 <= right <= guesses <= canaries")
    if not 0 <= delta < 1:
        raise SettingError(f"delta = {delta}; expected a probability far below 1 / canaries, such as 1e-5")
    if error > LARGEST_ERROR:
        raise SettingError(
            f"an error of {error:g}; expected at most {LARGEST_ERROR:g}, that is, a confidence of at least as much: 0.95 is usual"
        )
    if chance(canaries, guesses, correct, 0.0, delta) > error:
        return 0.0
    refuted, open_ = 0.0, _HIGHEST
    for _ in range(40):
        middle = (refuted + open_) / 2
        if chance(canaries, guesses, correct, middle, delta) <= error:
            refuted = middle
        else:
            open_ = middle
    return refuted


def _best(canaries: int, counts: Iterable[tuple[int, int]], delta: float, confidence: float) -> tuple[float, int, int]:
    """The best bound of all numbers of guesses, each at its share of the error; with its guesses and how many were right."""
    counts = tuple(counts)
    shares = _shares(len(counts))
    tried = [
        (epsilon_at(canaries, r, right, delta, (1 - confidence) * share), r, right)
        for (r, right), share in zip(counts, shares, strict=True)
    ]
    return max(tried, key=lambda entry: entry[0])


def _shares(tests: int) -> tuple[float, ...]:
    """Each test's share of the error: half for the first, the rest evenly."""
    return (1.0,) if tests == 1 else (0.5, *[0.5 / (tests - 1)] * (tests - 1))


def _tie_breakers(canaries: int, seed: int) -> NDArray[np.float64]:
    """Noise that orders equal scores, in the order of the canaries: it knows nothing of membership, as long as their order does not."""
    return np.random.default_rng(derive(seed, "one-run", "ties")).random(canaries)


def _cut(ordered: NDArray[np.float64]) -> int:
    """How many of the sorted scores are guessed out when all are guessed: the likeliest split into two Gaussian groups."""
    m = len(ordered)
    reach = int(2 * math.sqrt(m))
    below = np.array(sorted(range(max(1, m // 2 - reach), min(m - 1, (m + 1) // 2 + reach) + 1), key=lambda k: abs(2 * k - m)))
    scaled = ordered / (np.abs(ordered).max() or 1.0)
    scaled -= scaled.mean()
    sums, squares = np.cumsum(scaled), np.cumsum(scaled**2)
    floor = _FLOOR * squares[-1] / m or 1.0

    def cost(count: NDArray[np.int64], total: NDArray[np.float64], square: NDArray[np.float64]) -> NDArray[np.float64]:
        spread = np.maximum(square / count - (total / count) ** 2, 0) + floor
        return np.asarray(count * np.log(spread), dtype=np.float64)

    low = cost(below, sums[below - 1], squares[below - 1])
    high = cost(m - below, sums[-1] - sums[below - 1], squares[-1] - squares[below - 1])
    return int(below[np.argmin(low + high)])


def _scores(values: ArrayLike) -> NDArray[np.float64]:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or not len(scores):
        raise DataError(f"scores of shape {scores.shape}; expected a list of at least one score")
    if not np.isfinite(scores).all():
        wrong = int((~np.isfinite(scores)).sum())
        raise DataError(f"{wrong} NaN or infinite scores; give each canary a finite score, whether it was trained on or not")
    return scores


def _coins(values: ArrayLike) -> NDArray[np.bool_]:
    """Booleans, both of which occur as often as fair coins give them."""
    coins = np.asarray(values)
    if coins.dtype != np.bool_ or coins.ndim != 1:
        raise DataError(f"included of type {coins.dtype} and shape {coins.shape}; expected one boolean for each score")
    _check_coins(int(coins.sum()), int((~coins).sum()))
    return coins


def _check_order(scores: NDArray[np.float64], coins: NDArray[np.bool_]) -> None:
    """Refuse lists that were put together by membership, where equal scores would be told apart by their places."""
    sorted_by_membership = np.count_nonzero(coins[1:] != coins[:-1]) == 1 and len(coins) >= SORTED
    if sorted_by_membership and len(np.unique(scores)) < len(scores):
        raise DataError(
            f"{len(coins)} canaries sorted by whether they were trained on, with equal scores among them; expected the order in which the "
            "canaries were made, whatever their coins: ties are broken by place"
        )


def _check_coins(inside: int, outside: int) -> None:
    if not inside or not outside:
        raise DataError(f"{inside} canaries in and {outside} out; expected some of each, by fair coins")
    low, high = binomial_interval(inside, inside + outside, 1 - UNFAIR)
    if not low <= 0.5 <= high:
        raise DataError(
            f"{inside} canaries in and {outside} out; expected about as many of each, since the audit holds for fair coins alone: "
            "flip a fair coin for each canary, and give the scores of all of them"
        )
