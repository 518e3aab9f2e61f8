"""One-run bounds on the epsilon of an ideal Gaussian mechanism, ours and Opake's, on the same scores."""

import statistics
import time
from collections.abc import Callable, Iterator, Set

import numpy as np

from benchmarks.harness import Comparison
from benchmarks.leakage.one_run import DELTA, MU, Coins, Scores
from quintain.core.statistics import binomial_interval
from quintain.leakage import audit_gaussian, audit_one_run
from quintain.testing import NULL_SCORES, gaussian_scores

Bound = Callable[[Scores, Coins, int], float]

CANARIES, RUNS, NULL_RUNS = 200, 30, 300


def run(peers: Set[str]) -> Iterator[Comparison]:
    """Yield a line for each bound: what it shows of epsilon 8, and how often it alarms at nothing."""
    bounds: dict[str, Bound] = {
        "one-run, ours": lambda s, c, seed: audit_one_run(s, c, delta=DELTA, seed=seed).epsilon,
        "gaussian, ours": lambda s, c, seed: audit_gaussian(s, c, delta=DELTA, seed=seed).epsilon,
    }
    if "opake" in peers:
        bounds |= {
            "epsilon and delta, Opake": lambda s, c, _: _opake(s, c).eps_delta().epsilon_at(delta=DELTA),
            "mu-GDP, Opake": lambda s, c, _: _opake(s, c).gdp().epsilon_at(delta=DELTA),
        }
    for name, bound in bounds.items():
        shown, seconds = [], []
        for place in range(RUNS):
            rng = np.random.default_rng([place, CANARIES])
            coins = rng.random(CANARIES) < 0.5
            scores = gaussian_scores(MU)(rng, coins)
            clock = time.process_time()
            shown.append(bound(scores, coins, place))
            seconds.append(time.process_time() - clock)
        alarms = 0
        for place in range(NULL_RUNS):
            rng = np.random.default_rng([place, CANARIES])
            coins = rng.random(CANARIES) < 0.5
            alarms += bound(NULL_SCORES["normal"](rng, coins), coins, place) > 0.01
        low, high = binomial_interval(alarms, NULL_RUNS, 0.95)
        yield Comparison(
            f"one-run bound, {name}",
            f"{statistics.mean(shown):.2f} of epsilon 8 with {CANARIES} canaries (mean of {RUNS}), above "
            f"it in {sum(one > 8.0 for one in shown)}; alarms at nothing: {alarms} of {NULL_RUNS} "
            f"({low:.1%} to {high:.1%}, 5 % stated); {statistics.median(seconds):.3f} s of the processor",
        )


def _opake(scores: Scores, included: Coins):  # type: ignore[no-untyped-def]
    """Return Opake's estimate from scores and coins that it did not flip itself."""
    from opake import auditing
    from opake.auditing.types import CoinFlip

    ids = np.arange(len(scores))
    coins = CoinFlip(len(ids), ids, included, ids[included], ids[~included], len(ids))
    return auditing.one_run(auditing.canary_scores(scores, canary_indices=ids), coin_flip=coins)
