"""Guess from the scores which canaries were included, the surest guess first; coins are read only to count.

The guesses depend on the scores alone. All of them are made: an audit that abstains looks at the first r.
"""

import math
from itertools import count

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from quintain.core.seeds import derive_seed

STEPS_PER_HALVING = 4
"""Numbers of guesses that are looked at, from one to its half."""

MIN_GUESSES = 4
"""Fewer guesses are looked at only where there are fewer canaries."""

_MIN_VARIANCE_RATIO = 1e-6
"""Smallest variance of a group of scores, over that of all, since a group may hold a single value."""


def correct_guesses(
    scores: NDArray[np.float64], included: NDArray[np.bool_], *, seed: int
) -> NDArray[np.bool_]:
    """Return whether each guess is right (m,), the surest first.

    The sorted scores are cut in two where two Gaussians fit best (maximum likelihood, times the probability
    that fair coins exclude so many), at most four standard deviations of Binomial(m, 1/2) away from m/2. The
    coins' law keeps the cut from chasing a few scores: without it 2 % fewer of 100 guesses are right on
    heavy tails, and no more anywhere. Canaries above the cut are guessed as included, those below
    as excluded, and a guess is the surer the more canaries lie between it and the cut.
    """
    # Sort by score, ties by noise; rank by the distance from the cut, which no coin enters.
    m = len(scores)
    order = np.lexsort((_tie_breakers(m, seed), scores))
    split_at = _two_gaussian_split(scores[order])
    places = np.arange(m)
    right = included[order] == (places >= split_at)
    return right[np.argsort(-np.abs(places + 0.5 - split_at), kind="stable")]


def numbers_of_guesses(canaries: int) -> tuple[int, ...]:
    """Return the numbers of guesses that are looked at, rising: four from one to its double, and all."""
    sizes = {canaries}
    for step in count(1):
        guesses = round(canaries * 2 ** (-step / STEPS_PER_HALVING))
        if guesses < MIN_GUESSES:
            return tuple(sorted(sizes))
        sizes.add(guesses)
    raise AssertionError("unreachable")


def _tie_breakers(canaries: int, seed: int) -> NDArray[np.float64]:
    """Draw noise that orders equal scores, independent of inclusion as long as the canaries' order is."""
    return np.random.default_rng(derive_seed(seed, "one-run", "ties")).random(canaries)


def _two_gaussian_split(ordered: NDArray[np.float64]) -> int:
    """Return how many of the sorted scores are guessed as excluded.

    It is the split where two Gaussians and the coins' law fit best.
    """
    # Twice the negative log-likelihood by prefix sums: n1 log var1 + n2 log var2 - 2 log C(m, n1), from the
    # middle outwards, so that ties go there; the floor keeps the logarithm finite for equal scores.
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
    coins = 2 * (gammaln(below + 1) + gammaln(m - below + 1))
    return int(below[np.argmin(low + high + coins)])
