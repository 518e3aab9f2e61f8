"""Predictions of a smoothed classifier: samples are drawn until a class is known to be the most frequent."""

import math
from dataclasses import dataclass

import numpy as np

from quintain.certify.smoothing_certificates import NoisyExamples
from quintain.certify.smoothing_evidence import SEQUENCE_SHARE, SLACK, Counts, Flags, log_evidence, looks


@dataclass(frozen=True, slots=True)
class VoteTest:
    r"""Decide whether a class, chosen apart from the votes, is the most frequent one.

    Of the copies that are classified as it or as one rival, the class gets a fraction above 1/2: shown by the
    e-value :math:`M_n(1/2) \ge 1/(0.9\alpha)` (``log_evidence``) at a look, or at the last sample by a
    binomial test at :math:`0.1\alpha`, against the rival with most votes.

    Guarantee: the probability that any class but the most frequent one is ever declared is at most ``alpha``.

    Proof. Let r be the most frequent class and c another one. A copy that is classified as c or r is one of c
    with probability at most 1/2, and others change nothing: the e-value of c against r is a nonnegative
    supermartingale, and by Ville's inequality it ever reaches the threshold with probability at most
    :math:`0.9\alpha`; the binomial test errs with probability at most :math:`0.1\alpha`, whatever the number
    of such copies. Both fall with the rival's votes, so that what is shown against the rival with most votes
    is shown against r. No union over classes is needed, since c is fixed by other samples.

    Args:
        alpha: Probability, for each example, of a false prediction.
        max_samples: Noisy copies after which it abstains.

    Source: two most frequent classes, Hung and Fithian, 2019, as in Cohen et al., 2019, arXiv:1902.02918; the
    sequential test is that of ``RadiusTest``.
    """

    alpha: float
    max_samples: int

    def decides(self, votes: Counts, rivals: Counts, samples: int) -> Flags:
        """Whether each class is shown to be the most frequent.

        Args:
            votes: Its votes (B,).
            rivals: Those of the other class with most (B,).
            samples: Noisy copies of each so far.
        """
        from scipy.special import betainc

        half = np.full(len(votes), 0.5)
        is_certain = (votes > rivals) & (
            log_evidence(votes, rivals, half) >= SLACK - math.log(SEQUENCE_SHARE * self.alpha)
        )
        if samples < self.max_samples:
            return np.asarray(is_certain)
        # P[Binomial(votes + rivals, 1/2) >= votes]
        chance = np.where(votes > 0, betainc(np.maximum(votes, 1), rivals + 1, half), 1.0)
        return np.asarray(is_certain | (chance <= (1 - SEQUENCE_SHARE) * self.alpha * (1 - 1e-9)))

    def can_decide(self) -> bool:
        """Whether samples that all agree decide."""
        return bool(self.decides(np.array([self.max_samples]), np.array([0]), self.max_samples)[0])


def draw_predictions(noisy: NoisyExamples, selection_samples: int, test: VoteTest) -> Counts:
    """Return the most frequent class of each example (B,); -1 where it is not decided, or an output failed.

    Args:
        noisy: The examples.
        selection_samples: Copies, other than those that count, that select the class.
        test: Decides.
    """
    total = len(noisy.x)
    found, rows = np.full(total, -1), np.arange(total)
    if not total:
        return found
    counts, failed = noisy.count(rows, noisy.generators("predict selection"), selection_samples)
    selected, votes = counts.argmax(1), np.zeros_like(counts)
    generators, seen = noisy.generators("predict"), 0
    rows = rows[~failed]
    for look in looks(test.max_samples):
        if not len(rows):
            break
        counts, lost = noisy.count(rows, generators, look - seen)
        seen = look
        votes[rows] += counts
        own = votes[rows, selected[rows]]
        others = votes[rows]
        others[np.arange(len(rows)), selected[rows]] = -1
        decided = test.decides(own, np.maximum(others.max(1), 0), look) & ~lost
        found[rows[decided]] = selected[rows[decided]]
        rows = rows[~decided & ~lost]
    return found
