"""The laws of privacy audits: a bound on epsilon is false no more often than it says, and sees leaks.

A mechanism is a function of a generator and the inclusion coins to a score for each canary.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from quintain.core.statistics import binomial_tail
from quintain.leakage.audit import one_run, worst_case
from quintain.testing.checking import Law, require, run_laws

Scores = NDArray[np.float64]
Coins = NDArray[np.bool_]
Mechanism = Callable[[np.random.Generator, Coins], Scores]
PValue = Callable[[int, int, int, float, float], float]
"""P[at least so many of m canaries are guessed right in r guesses], of (m, r, right, epsilon, delta)."""

RUNS = 1000


def too_many(runs: int) -> int:
    """Return how many of so many audits, each wrong with probability 5 %, are wrong in fewer than 1 %: 68 of
    1,000.
    """
    return next(wrong for wrong in range(runs + 2) if binomial_tail(wrong, runs, 0.05) < 0.01)


class EpsilonBound(Protocol):
    """What an audit returns, as far as the laws read it."""

    @property
    def epsilon(self) -> float:
        """The lower bound on epsilon, at 95 % confidence."""


class Audit(Protocol):
    """An audit of one training run: scores and coins of its canaries to a lower bound on epsilon."""

    def __call__(self, scores: Scores, included: Coins, /, *, delta: float, seed: int) -> EpsilonBound:
        """Bound epsilon at ``delta``; ``seed`` breaks ties."""


def check_audit(audit: Audit, *, runs: int = RUNS) -> None:
    """Check all laws of audits on one: never too high more often than it says, and high where much leaks.

    Args:
        audit: An audit such as ``quintain.leakage.audit_one_run``.
        runs: How many audits each law rests on; fewer are quicker and see less.

    Raises:
        AssertionError: If it breaks any law; the message names each, with what was seen.
    """
    level, power = partial(check_audit_level, audit=audit, runs=runs), partial(check_audit_power, audit=audit)
    laws: list[Law] = [
        (f"nothing is shown by scores that tell nothing: {name}", partial(level, mechanism, 0.0))
        for name, mechanism in NULL_SCORES.items()
    ]
    laws += [
        ("randomized response is not overstated", partial(level, randomized_response(2.0), 2.0)),
        ("a Gaussian mechanism is not overstated", partial(level, gaussian_scores(0.719), 3.0)),
        (
            "a leak of probability delta is not overstated",
            partial(level, all_or_nothing(0.2), 0.0, delta=0.2),
        ),
        ("randomized response is seen", partial(power, randomized_response(2.0), 1.5)),
        ("a Gaussian mechanism is seen", partial(power, gaussian_scores(1.666), 2.0)),
        ("a full leak is seen", partial(power, gaussian_scores(100.0), 4.88)),
    ]
    run_laws("the audit", laws)


def check_audit_level(
    mechanism: Mechanism,
    epsilon: float,
    *,
    audit: Audit = one_run.audit_one_run,
    canaries: int = 200,
    delta: float = 1e-5,
    runs: int = RUNS,
    included: float = 0.5,
) -> None:
    """The bound exceeds the true epsilon in at most 5 % of audits.

    Args:
        mechanism: Scores that are (epsilon, delta)-private for each canary.
        epsilon: The true epsilon.
        audit: The audit.
        canaries: How many canaries a run has.
        delta: The delta at which epsilon is bounded.
        runs: How many audits are made, each with its own coins, scores and ties.
        included: The probability with which each is included: one half, but for audits of many runs.

    Raises:
        AssertionError: If it does in more, by chance alone with probability below 1 %.
    """
    bounds = _audited(audit, mechanism, canaries=canaries, delta=delta, runs=runs, included=included)
    above = sum(bound > epsilon for bound in bounds)
    allowed = too_many(runs)
    require(
        above < allowed,
        f"a bound above epsilon = {epsilon} in fewer than {allowed} of {runs} audits",
        f"{above}",
    )


def check_audit_power(
    mechanism: Mechanism,
    least: float,
    *,
    audit: Audit = one_run.audit_one_run,
    canaries: int = 500,
    delta: float = 1e-5,
    runs: int = 25,
) -> None:
    """The median bound reaches what it should.

    Args:
        mechanism: Scores that leak.
        least: What the median bound on epsilon must reach.
        audit: The audit.
        canaries: How many canaries a run has.
        delta: The delta at which epsilon is bounded.
        runs: How many audits are made.

    Raises:
        AssertionError: If it does not.
    """
    bounds = list(_audited(audit, mechanism, canaries=canaries, delta=delta, runs=runs))
    median = float(np.median(bounds))
    require(median >= least, f"a median epsilon of at least {least}", f"{median:.2f}")


def check_guess_p_value(
    epsilon: float, delta: float, canaries: int, *, p_value: PValue | None = None
) -> None:
    """No private mechanism, worked out by enumeration, is right more often than the p-value says.

    Args:
        epsilon, delta: What each mechanism keeps to, for each canary.
        canaries: How many there are; the time grows as 2 to that power.
        p_value: The bound; that of ``quintain.leakage.audit.worst_case`` if not given.

    Raises:
        AssertionError: If one is.
    """
    bound = p_value or worst_case.p_value
    for name, law in laws_of_right_guesses(epsilon, delta, canaries).items():
        for right in range(canaries + 1):
            exact, allowed = math.fsum(law[right:]), bound(canaries, canaries, right, epsilon, delta)
            expected = f"at least {right} right guesses with probability at most {allowed}"
            require(exact <= allowed + 1e-12, expected, f"{exact} of {name}")


def laws_of_right_guesses(epsilon: float, delta: float, canaries: int) -> dict[str, list[float]]:
    """Return P[v right guesses], v = 0 .. m, of mechanisms that are (epsilon, delta)-private for each canary.

    The guesser is the best there is.
    """
    truth = 1 / (1 + math.exp(-epsilon))
    response = _enumerate([truth] * canaries)
    partly_shown = {
        f"{known} shown together": _mix(
            canaries * delta / known, [0.0] * known + _enumerate([truth] * (canaries - known)), response
        )
        for known in range(1, canaries + 1)
    }
    return {
        "randomized response": response,
        "each shown alone": _enumerate([delta + (1 - delta) * truth] * canaries),
    } | partly_shown


def gaussian_scores(mu: float) -> Mechanism:
    """Return a mechanism that shifts the scores of included canaries by mu standard deviations."""
    return lambda rng, coins: mu * coins + rng.standard_normal(len(coins))


def randomized_response(epsilon: float) -> Mechanism:
    """Return a mechanism that tells each coin truly with probability 1 / (1 + exp(-epsilon))."""

    def tell(rng: np.random.Generator, coins: Coins) -> Scores:
        return (coins == (rng.random(len(coins)) < 1 / (1 + math.exp(-epsilon)))).astype(np.float64)

    return tell


def all_or_nothing(delta: float) -> Mechanism:
    """Return a mechanism that tells all coins with probability delta, else nothing: epsilon is 0 at delta."""

    def tell(rng: np.random.Generator, coins: Coins) -> Scores:
        noise = rng.standard_normal(len(coins))
        return coins + 0.1 * noise if rng.random() < delta else noise

    return tell


NULL_SCORES: dict[str, Mechanism] = {
    "normal": lambda rng, coins: rng.standard_normal(len(coins)),
    "all equal": lambda _rng, coins: np.zeros(len(coins)),
    "three levels": lambda rng, coins: np.round(0.6 * rng.standard_normal(len(coins))).clip(-1, 1),
    "heavy-tailed": lambda rng, coins: rng.standard_cauchy(len(coins)),
    "shared shift": lambda rng, coins: rng.standard_normal(len(coins)) + 10 * rng.standard_normal(),
    "skewed": lambda rng, coins: np.exp(2 * rng.standard_normal(len(coins))),
    "random walk": lambda rng, coins: np.cumsum(rng.standard_normal(len(coins))),
    "two clumps": lambda rng, coins: 100.0 * (rng.random(len(coins)) < 0.5) + rng.standard_normal(len(coins)),
}
"""Mechanisms whose scores tell nothing of the coins."""


def _audited(
    audit: Audit, mechanism: Mechanism, *, canaries: int, delta: float, runs: int, included: float = 0.5
) -> Iterator[float]:
    """Epsilons of many audits at 95 %, each with its own coins, scores and ties."""
    for run in range(runs):
        rng = np.random.default_rng([run, canaries])
        coins = rng.random(canaries) < included
        scores = mechanism(rng, coins)
        yield audit(scores, coins, delta=delta, seed=run).epsilon


def _enumerate(probabilities: list[float]) -> list[float]:
    """The law of a number of successes, over all outcomes."""
    law = [0.0] * (len(probabilities) + 1)
    for outcome in product((False, True), repeat=len(probabilities)):
        law[sum(outcome)] += math.prod(
            p if success else 1 - p for p, success in zip(probabilities, outcome, strict=True)
        )
    return law


def _mix(fraction: float, law: list[float], other: list[float]) -> list[float]:
    return [fraction * a + (1 - fraction) * b for a, b in zip(law, other, strict=True)]
