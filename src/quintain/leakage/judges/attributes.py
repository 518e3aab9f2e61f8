r"""How often a hidden attribute is guessed rightly, and how much of that is of the training examples alone.

What a model teaches of a whole population helps to guess about members and about people it never saw alike.
Only what helps more with members is a leak of the training data.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import SettingError
from quintain.core.statistics import binomial_interval, check_confidence
from quintain.leakage.attack import LeakJudgment
from quintain.results.leak_records import ATTRIBUTE_ACCURACY

Values = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AttributeGuesses:
    """Guesses of the hidden values of some examples, and the truth; n of them.

    Args:
        truth: True values (n,).
        guessed: What the attack guesses (n,).
        baselines: What is guessed without the model (n,), by name, such as an imputer that the same public
            examples trained.
    """

    truth: Values
    guessed: Values
    baselines: Mapping[str, Values]

    def __post_init__(self) -> None:
        lengths = {len(one) for one in (self.truth, self.guessed, *self.baselines.values())}
        if len(lengths) != 1 or not len(self.truth) or not self.baselines:
            raise SettingError(
                f"{len(self.truth)} true values, {len(self.guessed)} guesses, {len(self.baselines)} "
                "baselines; expected as many of each, at least one, and a baseline"
            )

    def best_baseline(self) -> tuple[str, Values]:
        """Return the baseline that is right most often, and its guesses."""
        name = max(self.baselines, key=lambda name: float((self.baselines[name] == self.truth).mean()))
        return name, self.baselines[name]


def judge_attribute(
    guesses: AttributeGuesses, *, unit: str = "example", whose: str = "members", confidence: float = 0.95
) -> LeakJudgment:
    """Judge guesses by the fraction that is right, beside the best baseline.

    Args:
        guesses: Guesses and truth.
        unit: What one example is.
        whose: ``members`` of the training data, or others.
        confidence: Of the exact interval (Clopper and Pearson).
    """
    right = guesses.guessed == guesses.truth
    low, high = binomial_interval(int(right.sum()), len(right), confidence)
    name, baseline = guesses.best_baseline()
    return LeakJudgment(
        measure=f"{ATTRIBUTE_ACCURACY}, {whose}",
        value=float(right.mean()),
        low=low,
        high=high,
        baseline=float((baseline == guesses.truth).mean()),
        baseline_name=name,
        unit=unit,
        confidence=confidence,
        per_example=tuple((right.astype(float) - (baseline == guesses.truth)).tolist()),
    )


def judge_training_leak(
    members: AttributeGuesses, others: AttributeGuesses, *, unit: str = "example", confidence: float = 0.95
) -> LeakJudgment:
    r"""Judge by how much more an attack gains on members than on others: the leak of the training data.

    .. math:: (a_m - b_m) - (a_o - b_o)

    with the accuracies a of the attack and b of one baseline, on members m and others o. A gain is the
    difference of two probabilities: that the attack alone is right, and that the baseline alone is. The four
    have exact intervals, each at a quarter of the error, so that the sum of their ends contains the
    difference with at least the stated confidence. Its baseline is 0: what the model teaches of the
    population.

    Args:
        members, others: Guesses about examples that the target was trained on, and about others.
        unit: What one example is.
        confidence: Of the interval.
    """
    quarter = 1 - (1 - check_confidence(confidence)) / 4
    # One baseline for both, the better one on the members.
    name, _ = members.best_baseline()
    value, low, high = 0.0, 0.0, 0.0
    for sign, group in ((1, members), (-1, others)):
        right, baseline = group.guessed == group.truth, group.baselines[name] == group.truth
        for side, count in ((1, int((right & ~baseline).sum())), (-1, int((~right & baseline).sum()))):
            ends = binomial_interval(count, len(right), quarter)
            value += sign * side * count / len(right)
            low += ends[0] if sign * side > 0 else -ends[1]
            high += ends[1] if sign * side > 0 else -ends[0]
    return LeakJudgment(
        measure="attribute gain, members less others",
        value=value,
        low=max(-2.0, low),
        high=min(2.0, high),
        baseline=0.0,
        baseline_name="what the model teaches of the population",
        unit=unit,
        confidence=confidence,
    )
