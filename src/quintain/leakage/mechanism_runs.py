"""Many runs of a mechanism of the user's on two neighboring inputs, and a score that tells them apart."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from quintain.core.errors import DataError, ModelError, QuintainError, SettingError
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.core.user_code import FAILURES, failure_text
from quintain.leakage.audit.exact_numbers import lost_in_float64
from quintain.leakage.audit.many_runs import audit_many_runs

Mechanism = Callable[[Any, np.random.Generator], Any]
"""``fn(records, rng)`` to one released number or an array of them; its randomness may come from elsewhere."""

Numbers = NDArray[np.float64]

MAX_NUMBERS = 1 << 26
"""Released numbers of all runs together, which are held in memory."""

MAX_SIZE = 1e300
"""The largest size of a released number; sums of ``MAX_NUMBERS`` differences of such numbers are finite."""

MAX_STANDARDIZED = 1e100
"""Standardized numbers are cut off here, so that their squares over ``CONSTANT`` are finite."""

CONSTANT = 1e-12
"""A variance below which a number is taken for constant, in squares of its largest deviation."""

SCORES_TRIED = 0.5
"""The confidence at which the two kinds of scores are compared, on runs that the bound does not use."""


@dataclass(frozen=True, slots=True)
class MechanismRuns:
    """What a mechanism released on either input, in as many runs of each.

    Args:
        releases: (runs, d) of the records.
        neighbor_releases: (runs, d) of the neighbor.
    """

    releases: Numbers
    neighbor_releases: Numbers


def neighbor_relation(records: object, neighbor: object) -> Literal["add/remove", "replace"] | None:
    """Return how two inputs differ: by one row more, or by one other row; None where they are no arrays.

    Args:
        records, neighbor: Arrays of as many columns, or anything else.

    Raises:
        DataError: If they are arrays that are equal, or differ by more than one record.
    """
    if not isinstance(records, np.ndarray | Tensor | list) or not isinstance(neighbor, type(records)):
        return None
    try:
        one, other = np.asarray(records), np.asarray(neighbor)
    except ValueError:
        return None
    if one.dtype.kind not in "biufSU" or other.dtype.kind not in "biufSU" or not one.ndim or not other.ndim:
        return None
    counts = _differences(one, other)
    more, fewer = (sum(max(sign * count, 0) for count in counts.values()) for sign in (1, -1))
    if one.shape[1:] == other.shape[1:] and (more, fewer) in ((1, 0), (0, 1)):
        return "add/remove"
    if one.shape[1:] == other.shape[1:] and (more, fewer) == (1, 1):
        return "replace"
    raise DataError(
        f"the inputs have {len(one)} and {len(other)} records, of which {more} and {fewer} are not in the "
        "other; expected neighbors: one record more, or one record replaced"
    )


def replaces_a_blank(records: object, neighbor: object) -> bool:
    """Return whether one of two inputs has a record of zeros in the place of the other's record."""
    one, other = np.asarray(records), np.asarray(neighbor)
    if neighbor_relation(records, neighbor) != "replace" or one.dtype.kind not in "biuf":
        return False
    blank = np.zeros(one.shape[1:], np.result_type(one, other)).tobytes()
    return _differences(one, other).get(blank, 0) != 0


def _differences(one: NDArray[Any], other: NDArray[Any]) -> dict[bytes, int]:
    """Return how often each record occurs in the first array less how often in the second."""
    counts: dict[bytes, int] = {}
    for array, sign in ((one, 1), (other, -1)):
        for row in np.ascontiguousarray(array.astype(np.result_type(one, other))):
            counts[row.tobytes()] = counts.get(row.tobytes(), 0) + sign
    return counts


def run_mechanism(
    mechanism: Mechanism,
    records: object,
    neighbor: object,
    *,
    runs: int = 1000,
    seed: int = 0,
    name: str = "fn",
    progress: Progress = no_progress,
) -> MechanismRuns:
    """Run a mechanism as often on either input, in turn.

    Args:
        mechanism: The mechanism.
        records, neighbor: Two neighboring inputs; each run gets a copy of its own, which it may change.
        runs: Of each input.
        seed: Of the generators that it is given, one an input.
        name: Of the mechanism, for messages.
        progress: Shows a bar.

    Raises:
        ModelError: If it fails, or releases anything but as many real numbers each time, which float64 holds
            and which are at most ``MAX_SIZE`` in size.
        SettingError: If there are more numbers than memory is planned for.
    """
    inputs = (records, neighbor)
    rngs = [np.random.default_rng(derive_seed(seed, "mechanism", arm)) for arm in (0, 1)]
    found: tuple[list[Numbers], list[Numbers]] = ([], [])
    with progress.bar(f"runs of {name}", 2 * runs) as done:
        for _ in range(runs):
            for own, given, rng in zip(found, inputs, rngs, strict=True):
                own.append(_release(mechanism, given, rng, name))
                expected = found[0][0].size
                if own[-1].size != expected:
                    raise ModelError(
                        f"{name} releases {own[-1].size} numbers, and {expected} before; expected as many in "
                        "each run, on either input"
                    )
                if 2 * runs * expected > MAX_NUMBERS:
                    raise SettingError(
                        f"{name} releases {expected} numbers in each of {2 * runs} runs; expected at most "
                        f"{MAX_NUMBERS} in all: release fewer, such as a statistic of them"
                    )
                done(1)
    return MechanismRuns(np.stack(found[0]), np.stack(found[1]))


def _release(mechanism: Mechanism, given: object, rng: np.random.Generator, name: str) -> Numbers:
    try:
        released = mechanism(_copy(given, name), rng)
        lost = lost_in_float64(released)
        numbers = np.zeros(0) if lost else np.asarray(released, dtype=np.float64).ravel()
    except QuintainError:
        raise
    except FAILURES as error:
        raise ModelError(f"{name} fails: {failure_text(error)}; correct it and run again") from error
    if lost:
        raise ModelError(
            f"{name} releases {lost}, which float64 does not hold: {released!r:.60}; expected numbers that "
            "it holds, such as real and imaginary part, or divmod(number, 2**32)"
        )
    if not numbers.size or not (np.abs(numbers) <= MAX_SIZE).all():
        raise ModelError(
            f"{name} releases {released!r:.60}; expected at least one number, all finite and at most "
            f"{MAX_SIZE:g} in size: where it may release none, release a number that stands for that"
        )
    return numbers


def _copy(given: object, name: str) -> object:
    """Return a copy: of an input that runs change in place, later ones would release something else.

    Raises:
        SettingError: If it cannot be copied, such as a generator.
    """
    try:
        return copy.deepcopy(given)
    except FAILURES as error:
        raise SettingError(
            f"an input of {name} is a {type(given).__name__}, which cannot be copied for each run "
            f"({failure_text(error)}); expected arrays, numbers, or lists of them"
        ) from error


def score_runs(runs: MechanismRuns, *, delta: float, seed: int) -> tuple[Numbers, NDArray[np.bool_]]:
    r"""Learn from the first half of the runs which releases tell the inputs apart, and score the second half.

    Two scores are fitted to a quarter of the runs: a linear one, by the difference of the means over the
    pooled variance of each number, and a quadratic one, the log likelihood ratio of independent Gaussians,
    which sees a changed spread. Of the two, that is taken which shows more on the second quarter. So the
    score is fixed before the runs of the bound are looked at, and nothing is to be paid for the choice.

    Args:
        runs: Of both inputs.
        delta: Of the bound that is sought.
        seed: Breaks ties.

    Returns:
        Scores (n,) of the second half, larger for the records, and whether each is of the records (n,).

    Raises:
        SettingError: If there are fewer than 8 runs of each input.
    """
    if len(runs.releases) < 8:
        raise SettingError(f"{len(runs.releases)} runs of each input; expected at least 8, such as 1000")
    quarters = [np.array_split(one, 4) for one in (runs.releases, runs.neighbor_releases)]
    fitted = [score(quarters[0][0], quarters[1][0]) for score in (_linear, _quadratic)]
    epsilons = [_audit_score(score, quarters[0][1], quarters[1][1], delta, seed) for score in fitted]
    best = fitted[int(np.argmax(epsilons))]
    own, other = (np.concatenate(one[2:]) for one in quarters)
    return _both(best, own, other)


def _both(
    score: Callable[[Numbers], Numbers], own: Numbers, other: Numbers
) -> tuple[Numbers, NDArray[np.bool_]]:
    return np.concatenate([score(own), score(other)]), np.arange(len(own) + len(other)) < len(own)


def _audit_score(
    score: Callable[[Numbers], Numbers], own: Numbers, other: Numbers, delta: float, seed: int
) -> float:
    scores, included = _both(score, own, other)
    return audit_many_runs(scores, included, delta=delta, confidence=SCORES_TRIED, seed=seed).epsilon


def _linear(own: Numbers, other: Numbers) -> Callable[[Numbers], Numbers]:
    standard = _standardize(own, other)
    own, other = standard(own), standard(other)
    variance = (own.var(axis=0) + other.var(axis=0)) / 2
    weights = (own.mean(axis=0) - other.mean(axis=0)) / (variance + CONSTANT)
    return lambda x: np.asarray(standard(x) @ weights, dtype=np.float64)


def _quadratic(own: Numbers, other: Numbers) -> Callable[[Numbers], Numbers]:
    standard = _standardize(own, other)
    fits = [(one.mean(axis=0), one.var(axis=0) + CONSTANT) for one in (standard(own), standard(other))]

    def score(x: Numbers) -> Numbers:
        x = standard(x)
        densities = [-((x - mean) ** 2) / (2 * variance) - np.log(variance) / 2 for mean, variance in fits]
        return np.asarray((densities[0] - densities[1]).sum(axis=1), dtype=np.float64)

    return score


def _standardize(own: Numbers, other: Numbers) -> Callable[[Numbers], Numbers]:
    """Return what gives each number about its mean, in units of its largest deviation from there.

    The first release is taken off before, which is exact near to it: beside a large offset, such as a time
    stamp, the rounding of a mean would be as large as what tells the inputs apart. What other runs release
    may be farther by any factor.
    """
    first = own[0]
    both = np.concatenate([own, other]) - first
    center = both.mean(axis=0)
    largest = np.abs(both - center).max(axis=0)
    unit = np.where(largest > 0, largest, 1.0)

    def standard(x: Numbers) -> Numbers:
        with np.errstate(over="ignore"):
            return np.clip((x - first - center) / unit, -MAX_STANDARDIZED, MAX_STANDARDIZED)

    return standard
