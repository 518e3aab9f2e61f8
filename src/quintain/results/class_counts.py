"""Correct predictions, class by class, and the accuracies that follow."""

from dataclasses import dataclass

from quintain.core.errors import SettingError
from quintain.core.statistics import binomial_interval


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

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Clopper-Pearson interval of the accuracy in the population that the examples were drawn from."""
        return binomial_interval(self.num_correct, self.num_examples, confidence)
