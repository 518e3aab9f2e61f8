"""Correct predictions, class by class, and the accuracies that follow."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from quintain.core.errors import SettingError
from quintain.core.statistics import binomial_interval, binomial_tail

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEARNED_CONFIDENCE = 0.999
"""At this confidence a model must be better than the majority class to count as one that has learned."""

MIN_DIFFERENCES = 10
"""So many examples, at least, must tell a model from the majority class to rule chance out: 2^-10 < 0.001."""


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """How many examples of each true class are classified correctly.

    Args:
        correct: Correct predictions of each class.
        total: Examples of each class.
    """

    correct: tuple[int, ...]
    total: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.correct) != len(self.total) or any(
            not 0 <= r <= t for r, t in zip(self.correct, self.total, strict=True)
        ):
            raise SettingError(
                f"{self.correct} correct of {self.total}; expected one count per class, none above its total"
            )
        if not sum(self.total):
            raise SettingError("no examples to count; expected at least one")

    @classmethod
    def of(cls, correct: "NDArray[np.bool_]", labels: "NDArray[np.int64]", num_classes: int) -> Self:
        """Count correct predictions class by class, from booleans (N,) and labels (N,)."""
        import numpy as np

        return cls(
            tuple(np.bincount(labels[correct], minlength=num_classes).tolist()),
            tuple(np.bincount(labels, minlength=num_classes).tolist()),
        )

    @property
    def num_examples(self) -> int:
        """How many examples there are."""
        return sum(self.total)

    @property
    def num_correct(self) -> int:
        """How many are classified correctly."""
        return sum(self.correct)

    @property
    def accuracy(self) -> float:
        """Fraction of correct predictions."""
        return self.num_correct / self.num_examples

    @property
    def recalls(self) -> tuple[float | None, ...]:
        """Fraction of correct predictions in each class, None where a class is empty."""
        return tuple(r / t if t else None for r, t in zip(self.correct, self.total, strict=True))

    @property
    def num_filled_classes(self) -> int:
        """How many classes have examples."""
        return sum(map(bool, self.total))

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the recalls of the classes that have examples: 1/K for a model that always answers one.

        Show ``num_filled_classes`` beside it where it is less than the number of classes.
        """
        recalls = [recall for recall in self.recalls if recall is not None]
        return sum(recalls) / len(recalls)

    @property
    def sensitivity(self) -> float | None:
        """Fraction of correct predictions among the positives (class 1 of two), else None."""
        return self.recalls[1] if len(self.total) == 2 else None

    @property
    def specificity(self) -> float | None:
        """Fraction of correct predictions among the negatives (class 0 of two), else None."""
        return self.recalls[0] if len(self.total) == 2 else None

    @property
    def majority_accuracy(self) -> float:
        """Accuracy of always answering the most frequent class."""
        return max(self.total) / self.num_examples

    @property
    def differences(self) -> tuple[int, int]:
        """Examples that the model has right and the majority class wrong, and the other way round."""
        most = max(range(len(self.total)), key=self.total.__getitem__)
        return self.num_correct - self.correct[most], self.total[most] - self.correct[most]

    @property
    def is_better_than_majority(self) -> bool:
        """Whether the model is better than the majority class, which chance does not explain at 99.9 %.

        It is the sign test on the examples that one of the two alone has right.
        """
        mine, theirs = self.differences
        return binomial_tail(mine, mine + theirs, 0.5) <= 1 - LEARNED_CONFIDENCE

    @property
    def seems_untrained(self) -> bool:
        """Whether a model that was trained on these examples looks as if it had learned nothing of them.

        It is not better than the majority class, and there are examples enough to tell: one that has nearly
        all of very unequal classes right is not suspected.
        """
        mine, theirs = self.differences
        if mine <= theirs:
            return theirs > 0 or self.num_filled_classes > 1
        return mine + theirs >= MIN_DIFFERENCES and not self.is_better_than_majority

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Clopper-Pearson interval of the accuracy in the population that the examples were drawn from."""
        return binomial_interval(self.num_correct, self.num_examples, confidence)
