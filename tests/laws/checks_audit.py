"""What an audit must hold to; each check is run on the library, and on mutants that it has to catch."""

import math
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from quintain.leakage import one_run

Scores = NDArray[np.float64]
Coins = NDArray[np.bool_]
Mechanism = Callable[[np.random.Generator, Coins], Scores]

RUNS = 1000
TOO_MANY = 68
"""Of 1,000 audits that may each be wrong with probability 5 %, so many or more are wrong with probability
below 1 %.
"""


def audited(mechanism: Mechanism, *, canaries: int, delta: float, runs: int) -> Iterator[float]:
    """Epsilons of many audits at 95 %, each with its own coins, scores and ties."""
    for run in range(runs):
        rng = np.random.default_rng([run, canaries])
        coins = rng.random(canaries) < 0.5
        scores = mechanism(rng, coins)
        yield one_run.audit_one_run(scores, coins, delta=delta, seed=run).epsilon


def check_level(
    mechanism: Mechanism, epsilon: float, *, canaries: int = 200, delta: float = 1e-5, runs: int = RUNS
) -> None:
    """The bound exceeds the true epsilon in at most 5 % of audits."""
    wrong = sum(found > epsilon for found in audited(mechanism, canaries=canaries, delta=delta, runs=runs))
    assert wrong < TOO_MANY * runs / RUNS, f"above epsilon = {epsilon} in {wrong} of {runs} audits"


def check_power(
    mechanism: Mechanism, least: float, *, canaries: int = 500, delta: float = 1e-5, runs: int = 25
) -> None:
    """The median bound reaches what it should."""
    median = float(np.median(list(audited(mechanism, canaries=canaries, delta=delta, runs=runs))))
    assert median >= least, f"median epsilon {median:.2f}; expected at least {least}"


def check_theorem(epsilon: float, delta: float, canaries: int) -> None:
    """No private mechanism, worked out by enumeration, is right more often than ``chance`` says."""
    for name, law in laws_of_right_guesses(epsilon, delta, canaries).items():
        for right in range(canaries + 1):
            exact = math.fsum(law[right:])
            allowed = one_run.p_value(canaries, canaries, right, epsilon, delta)
            assert exact <= allowed + 1e-12, (
                f"{name}: {right} right of {canaries} has probability {exact}, allowed {allowed}"
            )


def laws_of_right_guesses(epsilon: float, delta: float, canaries: int) -> dict[str, list[float]]:
    """P[v right guesses], v = 0 .. m, of mechanisms that are (epsilon, delta)-private for each canary, and of
    the best guesser.
    """
    truth = 1 / (1 + math.exp(-epsilon))
    response = _enumerate([truth] * canaries)
    shown = {
        f"{known} shown together": _mix(
            canaries * delta / known, [0.0] * known + _enumerate([truth] * (canaries - known)), response
        )
        for known in range(1, canaries + 1)
    }
    return {
        "randomized response": response,
        "each shown alone": _enumerate([delta + (1 - delta) * truth] * canaries),
    } | shown


def _enumerate(probabilities: list[float]) -> list[float]:
    """The law of a number of successes, over all outcomes."""
    law = [0.0] * (len(probabilities) + 1)
    for outcome in product((False, True), repeat=len(probabilities)):
        law[sum(outcome)] += math.prod(
            p if success else 1 - p for p, success in zip(probabilities, outcome, strict=True)
        )
    return law


def _mix(share: float, law: list[float], other: list[float]) -> list[float]:
    return [share * a + (1 - share) * b for a, b in zip(law, other, strict=True)]


def gaussian(mu: float) -> Mechanism:
    """A shift by mu standard deviations."""
    return lambda rng, coins: mu * coins + rng.standard_normal(len(coins))


def randomized_response(epsilon: float) -> Mechanism:
    """Each coin, told truly with probability 1 / (1 + exp(-epsilon))."""

    def tell(rng: np.random.Generator, coins: Coins) -> Scores:
        return (coins == (rng.random(len(coins)) < 1 / (1 + math.exp(-epsilon)))).astype(np.float64)

    return tell


def all_or_nothing(delta: float) -> Mechanism:
    """All coins with probability delta, else noise: private with epsilon 0 at that delta."""

    def tell(rng: np.random.Generator, coins: Coins) -> Scores:
        noise = rng.standard_normal(len(coins))
        return coins + 0.1 * noise if rng.random() < delta else noise

    return tell


NULLS: dict[str, Mechanism] = {
    "normal": lambda rng, coins: rng.standard_normal(len(coins)),
    "all equal": lambda rng, coins: np.zeros(len(coins)),
    "three levels": lambda rng, coins: np.round(0.6 * rng.standard_normal(len(coins))).clip(-1, 1),
    "heavy-tailed": lambda rng, coins: rng.standard_cauchy(len(coins)),
    "shared shift": lambda rng, coins: rng.standard_normal(len(coins)) + 10 * rng.standard_normal(),
    "two clumps": lambda rng, coins: 100.0 * (rng.random(len(coins)) < 0.5) + rng.standard_normal(len(coins)),
}
