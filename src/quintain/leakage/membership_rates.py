"""Lower bounds on the success of a membership attack, from its scores of members and of others.

A threshold is the score of the other whose rank was fixed beforehand: it depends on the scores of the others
alone, so that the members above it can be counted without a selection effect. Ties are broken by noise that
is independent of membership, as in ``judge_membership``, so that a threshold may lie between equal scores: an
attacker may break ties at random, too.
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
"""The thresholds that are tried for the advantage, by the fraction of the others above them."""


@dataclass(frozen=True, slots=True)
class MembershipScores:
    """The ranks of members and of others among one attack's scores, ties broken by noise.

    Args:
        members: Ranks of the training examples (n,), larger for likelier members.
        others: Ranks of examples of the same kind that were not trained on (m,); no two ranks are equal.
    """

    members: NDArray[np.int64]
    others: NDArray[np.int64]

    @classmethod
    def from_scores(cls, members: ArrayLike, others: ArrayLike, *, seed: int = 0) -> "MembershipScores":
        """Rank scores, larger for likelier members; the noise follows from the seed.

        Raises:
            SettingError: If there are no scores of members or of others, or a score is NaN.
        """
        both = [np.asarray(one, dtype=np.float64).reshape(-1) for one in (members, others)]
        for name, scores in zip(("members", "others"), both, strict=True):
            if not len(scores) or np.isnan(scores).any():
                count = int(np.isnan(scores).sum())
                raise SettingError(
                    f"{len(scores)} scores of {name}, {count} of them NaN; expected at least one, and numbers"
                )
        is_member = np.arange(len(both[0]) + len(both[1])) < len(both[0])
        return cls.from_ranked(rank_scores(np.concatenate(both), is_member, seed=seed))

    @classmethod
    def from_ranked(cls, scores: RankedScores) -> "MembershipScores":
        """Return the ranks of scores whose ties are broken already."""
        return cls(-np.flatnonzero(scores.is_member), -np.flatnonzero(~scores.is_member))

    def count_true_positives(self, false_positives: int) -> int:
        """Return how many members are above the threshold with so many false positives."""
        threshold = np.sort(self.others)[::-1][false_positives]
        return int((self.members > threshold).sum())


def tpr_levels(scores: MembershipScores, fpr: float) -> ConfidenceLevels:
    r"""Return lower bounds on the true-positive rate at a false-positive rate, at several confidences.

    The threshold is the (k+1)-th largest score of the m others, with the largest k whose false-positive rate
    is at most ``fpr`` at the confidence: the rate of new others above it has a Beta(k+1, m-k) distribution.
    If m is so small that the rate u at k = 0 exceeds ``fpr``, the true-positive rate is multiplied by
    ``fpr / u``: an attacker may report only a random part of what is above the threshold.

    Args:
        scores: Ranks of members and others.
        fpr: The false-positive rate, in (0, 1).

    Guarantee: each bound exceeds the true rate with probability at most 1 minus its confidence, if the
    scores of all candidates are independent given which of them are members, and members and others come from
    one population. No bound contradicts a claim, whatever its confidence: membership was not decided by
    independent coins, as in an audit.

    Source: Clopper and Pearson, 1934; the law of order statistics (Wilks, 1941).
    """

    def bound(confidence: float) -> float:
        error = (1 - confidence) / 2
        rank, rate = _threshold_rank(len(scores.others), fpr, error)
        hits = scores.count_true_positives(rank)
        return min(1.0, fpr / rate) * binomial_lower(hits, len(scores.members), 1 - error)

    return _levels(bound)


def advantage_levels(scores: MembershipScores) -> ConfidenceLevels:
    """Return lower bounds on the largest true-positive less false-positive rate, at several confidences.

    It is the largest of the bounds at seven thresholds whose ranks are fixed beforehand, each with a seventh
    of the error probability.

    Args:
        scores: Ranks of members and others.

    Guarantee: that of ``tpr_levels``.
    """
    ranks = sorted({min(int(part * len(scores.others)), len(scores.others) - 1) for part in ADVANTAGE_RANKS})

    def bound(confidence: float) -> float:
        error = (1 - confidence) / (2 * len(ranks))
        return max(
            binomial_lower(scores.count_true_positives(rank), len(scores.members), 1 - error)
            - _rate_above(rank, len(scores.others), error)
            for rank in ranks
        )

    return _levels(bound)


def _levels(bound: Callable[[float], float]) -> ConfidenceLevels:
    """Return the bounds at all confidences, made to fall as the confidence rises."""
    values = [max(0.0, bound(confidence)) for confidence in CONFIDENCES]
    return ConfidenceLevels(CONFIDENCES, tuple(map(float, np.minimum.accumulate(values))))


def _threshold_rank(others: int, fpr: float, error: float) -> tuple[int, float]:
    """Return the largest rank whose false-positive rate is at most ``fpr``, up to ``error``, and the rate.

    If there is none, return rank 0 and its rate.
    """
    rank = 0
    while rank + 1 < others and _rate_above(rank + 1, others, error) <= fpr:
        rank += 1
    return rank, max(fpr, _rate_above(rank, others, error))


def _rate_above(rank: int, others: int, error: float) -> float:
    """Return a bound, up to ``error``, on the rate of others above the (rank+1)-th largest of them."""
    return float(betaincinv(rank + 1, others - rank, 1 - error))
