"""What each audit shows of an ideal Gaussian mechanism of epsilon 8, and how often it alarms at nothing.

Scores are N(0, 1) without the canary and N(1.666, 1) with it, one for each canary or run, independent: what
rests on that assumption is at its best here. Beside them stands theorem 5.2 of Steinke, Nasr and Jagielski
(2023), with the error divided among five numbers of guesses, as most audits use it.
"""

import math
import os
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binom

from benchmarks.harness import Comparison
from quintain.core.registry import declared_entries
from quintain.core.statistics import binomial_interval
from quintain.leakage.audit.guesses import correct_guesses
from quintain.testing import NULL_SCORES, gaussian_scores

MU, DELTA = 1.666, 1e-5
"""The Gaussian mechanism of epsilon 8.0 at this delta."""

SIZES = (100, 200, 500, 1000)
RUNS, NULL_RUNS, NULL_CANARIES = 100, 1000, 200

Scores, Coins = NDArray[np.float64], NDArray[np.bool_]
Bound = Callable[[Scores, Coins, int], float]


def theorem_epsilon(scores: Scores, included: Coins, seed: int) -> float:
    """Return the best bound of theorem 5.2 over five numbers of guesses, at 95 %."""
    m, right = len(scores), np.cumsum(correct_guesses(scores, included, seed=seed))
    sizes = [m, *(m // share for share in (2, 4, 8, 16))]
    shares = [0.5, *[0.125] * 4]

    def excess(epsilon: float, r: int, v: int, share: float) -> float:
        tails = binom.sf(np.arange(-1, v), r, 1 / (1 + math.exp(-epsilon)))
        slope = np.max((tails[-2::-1] - tails[-1]) / np.arange(1, v + 1)) if v else 0.0
        return float(tails[-1] + 2 * m * DELTA * slope - 0.05 * share)

    found = [0.0]
    for r, share in zip(sizes, shares, strict=True):
        v = int(right[r - 1])
        if excess(0.0, r, v, share) < 0:
            found.append(float(brentq(excess, 0.0, 30.0, args=(r, v, share))))
    return max(found)


def bounds() -> dict[str, Bound]:
    """Return the bounds of all registered audits at 95 %, and that of the theorem."""
    made: dict[str, Bound] = {"theorem 5.2 (Steinke et al.)": theorem_epsilon}
    for name, entry in declared_entries("audit").items():
        audit = entry.load()
        made[name] = lambda scores, included, seed, audit=audit: (
            audit(scores, included, delta=DELTA, seed=seed).epsilon
        )
    return made


def run() -> Iterator[Comparison]:
    """Yield a line for each audit."""
    yield Comparison("load of the machine", ", ".join(f"{one:.1f}" for one in os.getloadavg()))
    for name, bound in bounds().items():
        shown = []
        for m in SIZES:
            values, clock = [], time.process_time()
            for place in range(RUNS):
                rng = np.random.default_rng([place, m])
                coins = rng.random(m) < 0.5
                values.append(bound(gaussian_scores(MU)(rng, coins), coins, place))
            shown.append(f"{np.mean(values):.2f}")
            seconds = (time.process_time() - clock) / RUNS
        alarms = {}
        for null in ("normal", "heavy-tailed", "three levels", "random walk"):
            found = 0
            for place in range(NULL_RUNS):
                rng = np.random.default_rng([place, NULL_CANARIES])
                coins = rng.random(NULL_CANARIES) < 0.5
                found += bound(NULL_SCORES[null](rng, coins), coins, place) > 0
            alarms[null] = found
        worst = max(alarms.values())
        low, high = binomial_interval(worst, NULL_RUNS, 0.95)
        yield Comparison(
            name,
            f"epsilon at least {' / '.join(shown)} with {' / '.join(map(str, SIZES))} canaries or runs "
            f"(mean of {RUNS}); alarms at nothing in {NULL_RUNS}: "
            f"{', '.join(f'{count} ({null})' for null, count in alarms.items())}, at worst "
            f"{100 * low:.1f} to {100 * high:.1f} %; {seconds:.3f} s of processor for {SIZES[-1]}",
        )
