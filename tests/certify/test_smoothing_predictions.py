"""The sequential test of a prediction, by exact enumeration and in many repetitions."""

import numpy as np
import pytest
from scipy.stats import binom

from quintain.certify import smoothing_predictions
from quintain.certify.smoothing_evidence import looks
from quintain.certify.smoothing_predictions import VoteTest
from quintain.testing import CERTIFIER_BUGS


def declared(test: VoteTest, probability: float) -> float:
    """The exact probability that one of two classes, of this probability, is ever declared most frequent."""
    alive, seen, chance = np.ones(1), 0, 0.0
    for look in looks(test.max_samples):
        alive = np.convolve(alive, binom.pmf(np.arange(look - seen + 1), look - seen, probability))
        seen, votes = look, np.flatnonzero(alive > 1e-15)
        done = votes[test.decides(votes, look - votes, look)]
        chance += float(alive[done].sum())
        alive[done] = 0.0
    return chance


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.001])
def test_a_class_that_is_not_more_frequent_is_declared_as_rarely_as_stated(alpha):
    for probability in (0.5, 0.49, 0.3):
        assert declared(VoteTest(alpha, 1000), probability) <= alpha
    assert declared(VoteTest(alpha, 1000), 0.5) > alpha / 20


def test_a_class_that_is_more_frequent_is_declared():
    test = VoteTest(0.001, 1000)
    assert declared(test, 0.6) > 0.99
    assert declared(test, 0.99) > 1 - 1e-9


def test_mutant_a_fixed_limit_at_every_look_declares_too_often(monkeypatch):
    test = VoteTest(0.01, 1000)
    assert declared(test, 0.5) <= 0.01
    bug = CERTIFIER_BUGS["a fixed limit at every look"].replacement
    monkeypatch.setattr(smoothing_predictions, "log_evidence", bug)
    assert declared(test, 0.5) > 0.03


@pytest.mark.parametrize("chances", [(0.4, 0.35, 0.25), (0.3, 0.3, 0.2, 0.2), (0.05, 0.48, 0.47)])
def test_of_several_classes_none_but_the_most_frequent_is_declared(chances):
    runs, alpha = 8_000, 0.05
    test, rng, wrong = VoteTest(alpha, 400), np.random.default_rng(3), np.argsort(chances)[-2]
    votes, seen, false = np.zeros((runs, len(chances)), dtype=np.int64), 0, 0
    for look in looks(test.max_samples):
        votes += rng.multinomial(look - seen, chances, len(votes))
        seen = look
        rivals = np.delete(votes, wrong, axis=1).max(1)
        pairs, row = np.unique(np.stack([votes[:, wrong], rivals]), axis=1, return_inverse=True)
        done = test.decides(pairs[0], pairs[1], look)[row.reshape(-1)]
        false += int(done.sum())
        votes = votes[~done]
    assert false / runs <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / runs)


def test_few_samples_can_never_decide():
    assert [n for n in range(1, 30) if VoteTest(0.001, n).can_decide()] == list(range(11, 30))
