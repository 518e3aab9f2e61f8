"""Candidates for membership in the order of an attack's scores, and what follows from the order alone.

Scores that are equal are ordered by noise that follows from the seed and the candidate's id alone, so that
ties favor nobody, in whatever order candidates are stored.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quintain.core.errors import DataError
from quintain.core.seeds import derive_seed

MAX_POINTS = 100
"""Most points of a curve after the first, at zero false alarms; they lie evenly on a logarithmic scale of
false-positive rates.
"""

MAX_EXPOSED = 20
"""Most members that are named as the most exposed ones."""


@dataclass(frozen=True, slots=True)
class RankedScores:
    """Scores of members and of others, from the one that is most likely a member to the least likely.

    Args:
        is_member: The truth in that order, (n,) bool.
        order: Positions of the candidates in that order, (n,).
        scores: Their scores in that order, (n,).
    """

    is_member: NDArray[np.bool_]
    order: NDArray[np.int64]
    scores: NDArray[np.float64]

    @property
    def num_members(self) -> int:
        """Number of members."""
        return int(self.is_member.sum())

    @property
    def num_others(self) -> int:
        """Number of candidates that are no members."""
        return len(self.is_member) - self.num_members

    def hits_before(self, false_alarms: int) -> int:
        """Return how many members come before false alarm number ``false_alarms + 1``."""
        alarms = np.flatnonzero(~self.is_member)
        cut = len(self.is_member) if false_alarms >= len(alarms) else int(alarms[false_alarms])
        return int(self.is_member[:cut].sum())


def rank_scores(
    scores: ArrayLike, is_member: ArrayLike, *, ids: ArrayLike | None = None, seed: int = 0
) -> RankedScores:
    """Order candidates by their scores, and equal scores by noise that does not depend on membership.

    Args:
        scores: One for each candidate (n,); larger means more likely a member.
        is_member: The truth (n,), bool.
        ids: Numbers of the candidates (n,), from which the noise follows; 0, 1, 2 ... if not given.
            Candidates with equal ids have equal noise, so no id may stand for membership, as 1 for all
            members and 0 for all others would.
        seed: Of the noise.

    Raises:
        DataError: If scores are NaN, lengths differ, or there are only members or none.
    """
    values = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(is_member)
    numbers = np.arange(len(values)) if ids is None else np.asarray(ids)
    if values.ndim != 1 or truth.shape != values.shape or numbers.shape != values.shape:
        raise DataError(
            f"scores of shape {values.shape}, membership of shape {truth.shape} and ids of shape "
            f"{numbers.shape}; expected one number each for every candidate, (n,)"
        )
    if truth.dtype != np.bool_:
        raise DataError(f"membership of type {truth.dtype}; expected booleans")
    if np.isnan(values).any():
        raise DataError(
            f"{int(np.isnan(values).sum())} of {len(values)} scores are NaN; expected numbers: look for an "
            "infinite loss in the model or the attack"
        )
    if truth.all() or not truth.any():
        raise DataError(
            f"{int(truth.sum())} members of {len(truth)} candidates; expected some members and some others"
        )
    noise = np.array([derive_seed(seed, "membership", "tie", int(number)) for number in numbers])
    order = np.lexsort((noise, -values))
    return RankedScores(truth[order], order, values[order])


def allowed_false_alarms(rate: float, num_others: int) -> int:
    """Return how many false alarms among so many others a false-positive rate allows."""
    return math.floor(rate * num_others + 1e-9)


def area_under_curve(ranked: RankedScores) -> float:
    """Return the probability that a member scores above another candidate, ties counted as a half."""
    from scipy.stats import rankdata

    ranks = rankdata(ranked.scores)[ranked.is_member].sum()
    return float(
        (ranks - ranked.num_members * (ranked.num_members + 1) / 2) / (ranked.num_members * ranked.num_others)
    )


def curve_points(ranked: RankedScores) -> Iterator[tuple[float, float]]:
    """Yield points (FPR, TPR) at 0, 1, ... false alarms, evenly on a logarithmic scale, and the end."""
    spaced = np.unique(np.geomspace(1, ranked.num_others, MAX_POINTS).astype(np.int64))
    for k in (0, *spaced.tolist()):
        yield k / ranked.num_others, ranked.hits_before(k) / ranked.num_members


def exposure_of(ranked: RankedScores) -> Iterator[float]:
    """Yield for each candidate, in the order of the scores given, the fraction of others that come after it.

    It is 1 where no other comes before: whoever names such members makes no false alarm.
    """
    before = np.concatenate([[0], np.cumsum(~ranked.is_member)[:-1]])
    fraction = np.empty(len(before))
    fraction[ranked.order] = 1 - before / ranked.num_others
    yield from fraction.tolist()


def most_exposed(
    scores: ArrayLike, is_member: ArrayLike, *, ids: ArrayLike, seed: int = 0, rate: float = 0.01
) -> tuple[int, ...]:
    """Return ids of the members that come before all but ``rate`` of the others, the surest first."""
    ranked = rank_scores(scores, is_member, ids=ids, seed=seed)
    alarms = np.flatnonzero(~ranked.is_member)
    cut = int(alarms[min(allowed_false_alarms(rate, ranked.num_others), len(alarms) - 1)])
    found = ranked.order[:cut][ranked.is_member[:cut]]
    return tuple(int(member) for member in np.asarray(ids)[found][:MAX_EXPOSED])
