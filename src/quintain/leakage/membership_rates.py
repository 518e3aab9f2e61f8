"""Lower bounds on how well members of a training set can be told, from the scores of one attack.

The threshold is the score of one of the others, whose rank is fixed beforehand: given the scores of the
others it does not depend on those of the members, so that no choice is made on what is counted. Equal scores
are ordered by noise that knows nothing of membership, as ``judge_membership`` does it, so that a threshold
may lie between them: whoever guesses may break ties at random.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from quintain.core.errors import SettingError
from quintain.core.statistics import binomial_lower
from quintain.leakage.judges.ranked_scores import RankedScores, rank_scores
from quintain.results.evidence import ConfidenceLevels

CONFIDENCES = (0.5, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999)
"""One-sided confidences of the bounds."""

ADVANTAGE_RANKS = (1 / 100, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4)
"""Fractions of the others above the thresholds of which the best advantage is taken."""


@dataclass(frozen=True, slots=True)
class MembershipScores:
    """The places of members and of others in the order of one attack's scores, ties broken by noise.

    Args:
        members: Of the training examples (n,), larger for likelier members.
        others: Of examples of the same kind that were not trained on (m,); no two places are equal.
    """

    members: NDArray[np.int64]
    others: NDArray[np.int64]

    @classmethod
    def of(cls, members: ArrayLike, others: ArrayLike, *, seed: int = 0) -> "MembershipScores":
        """Return the places of scores, larger for likelier members; the noise follows from the seed.

        Raises:
            SettingError: If there are none of either, or one is NaN.
        """
        found = [np.asarray(one, dtype=np.float64).reshape(-1) for one in (members, others)]
        for name, scores in zip(("members", "others"), found, strict=True):
            if not len(scores) or np.isnan(scores).any():
                count = int(np.isnan(scores).sum())
                raise SettingError(
                    f"{len(scores)} scores of {name}, {count} of them NaN; expected at least one, and numbers"
                )
        is_member = np.arange(len(found[0]) + len(found[1])) < len(found[0])
        return cls.ranked(rank_scores(np.concatenate(found), is_member, seed=seed))

    @classmethod
    def ranked(cls, scores: RankedScores) -> "MembershipScores":
        """Return the places of scores whose ties are broken."""
        return cls(-np.flatnonzero(scores.is_member), -np.flatnonzero(~scores.is_member))

    def found(self, rank: int) -> int:
        """Return how many members come before all but ``rank`` of the others."""
        threshold = np.sort(self.others)[::-1][rank]
        return int((self.members > threshold).sum())


def tpr_levels(scores: MembershipScores, fpr: float) -> ConfidenceLevels:
    r"""Return lower bounds on the true-positive rate at a false-positive rate, at several confidences.

    The threshold is the (k+1)-th largest score of the m others, with the largest k whose false-positive rate
    is at most ``fpr`` at the confidence: given the others, the rate of new ones above it has a Beta(k+1, m-k)
    law. Where m is too small for any k, the rate u at k = 0 is too large, and what is found counts by
    ``fpr / u``: an attacker may guess at random below a threshold, so that the true-positive rate is concave.

    Args:
        scores: Of both kinds of candidates.
        fpr: The false-positive rate, in (0, 1).

    Guarantee: each bound exceeds the true rate with probability at most 1 minus its confidence, if the
    scores of all candidates are independent given which of them are members, and members and others are of
    one population. No confidence is near enough to 1 to contradict a claim: nobody flipped coins for who is a
    member, as an audit does.

    Source: Clopper and Pearson, 1934; the law of order statistics (Wilks, 1941).
    """

    def bound(confidence: float) -> float:
        error = (1 - confidence) / 2
        rank, rate = _rank(len(scores.others), fpr, error)
        hits = scores.found(rank)
        return min(1.0, fpr / rate) * binomial_lower(hits, len(scores.members), 1 - error)

    return _levels(bound)


def advantage_levels(scores: MembershipScores) -> ConfidenceLevels:
    """Return lower bounds on the largest true-positive less false-positive rate, at several confidences.

    The best of seven thresholds counts, at ranks of the others that are fixed beforehand; each is bounded at
    an error of a seventh.

    Args:
        scores: Of both kinds of candidates.

    Guarantee: as that of ``tpr_levels``.
    """
    ranks = sorted({min(int(part * len(scores.others)), len(scores.others) - 1) for part in ADVANTAGE_RANKS})

    def bound(confidence: float) -> float:
        error = (1 - confidence) / (2 * len(ranks))
        return max(
            binomial_lower(scores.found(rank), len(scores.members), 1 - error)
            - _rate_above(rank, len(scores.others), error)
            for rank in ranks
        )

    return _levels(bound)


def _levels(bound: Callable[[float], float]) -> ConfidenceLevels:
    """Return bounds at all confidences, which fall as those rise."""
    values = [max(0.0, bound(confidence)) for confidence in CONFIDENCES]
    return ConfidenceLevels(CONFIDENCES, tuple(map(float, np.minimum.accumulate(values))))


def _rank(others: int, fpr: float, error: float) -> tuple[int, float]:
    """Return the largest rank whose false-positive rate is at most ``fpr`` but for ``error``, and that rate.

    Rank 0 and its rate where there is none.
    """
    rank = 0
    while rank + 1 < others and _rate_above(rank + 1, others, error) <= fpr:
        rank += 1
    return rank, max(fpr, _rate_above(rank, others, error))


def _rate_above(rank: int, others: int, error: float) -> float:
    """Return a bound on the rate of others above the (rank+1)-th largest of them, but for ``error``."""
    return float(betaincinv(rank + 1, others - rank, 1 - error))
