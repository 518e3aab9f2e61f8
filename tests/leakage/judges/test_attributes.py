"""What the model teaches of everyone is no leak of its training data; what it tells of members alone is."""

import numpy as np
import pytest

from quintain.core.errors import SettingError
from quintain.core.statistics import binomial_interval
from quintain.leakage.judges.attributes import AttributeGuesses, judge_attribute, judge_training_leak


def guesses(rng, count, *, attack, baseline):
    """Guesses that are right with these probabilities."""
    truth = rng.integers(0, 2, count)

    def at(accuracy):
        return np.where(rng.random(count) < accuracy, truth, 1 - truth)

    return AttributeGuesses(truth, at(attack), {"imputer": at(baseline), "zero": np.zeros(count, int)})


def test_accuracy_has_an_exact_interval_and_the_best_baseline():
    truth = np.array([0, 0, 0, 1])
    found = judge_attribute(
        AttributeGuesses(truth, truth, {"imputer": np.array([0, 1, 1, 1]), "zero": np.zeros(4, int)})
    )
    assert (found.value, found.low, found.high) == (1, *binomial_interval(4, 4, 0.95))
    assert (found.baseline, found.baseline_name) == (0.75, "zero")
    assert found.per_example == (0, 0, 0, 1)


def test_a_gain_on_members_alone_is_seen_and_one_on_all_is_not():
    rng = np.random.default_rng(0)
    members = guesses(rng, 400, attack=0.9, baseline=0.6)
    alike = guesses(rng, 400, attack=0.9, baseline=0.6)
    others = guesses(rng, 400, attack=0.6, baseline=0.6)
    leak = judge_training_leak(members, others)
    assert leak.value == pytest.approx(0.3, abs=0.1)
    assert leak.low > 0
    population = judge_training_leak(members, alike)
    assert population.low < 0 < population.high
    assert population.baseline == 0


def test_the_interval_of_the_leak_holds_its_level():
    rng, missed = np.random.default_rng(1), 0
    for _ in range(300):
        members = guesses(rng, 60, attack=0.8, baseline=0.6)
        others = guesses(rng, 60, attack=0.7, baseline=0.6)
        found = judge_training_leak(members, others)
        missed += not found.low <= 0.1 <= found.high
    assert missed <= 24  # 5 % are 15; more than 24 has a chance of 1 %


def test_guesses_that_do_not_fit_are_refused():
    with pytest.raises(SettingError, match="expected as many of each"):
        AttributeGuesses(np.zeros(3, int), np.zeros(2, int), {"zero": np.zeros(3, int)})
    with pytest.raises(SettingError, match="and a baseline"):
        AttributeGuesses(np.zeros(3, int), np.zeros(3, int), {})
