"""Right answers, class by class, and the accuracies that follow."""

from dataclasses import dataclass

from quintain.core.errors import SettingError
from quintain.core.statistics import binomial_interval


@dataclass(frozen=True, slots=True)
class Tally:
    """How many examples of each true class were answered rightly.

    Args:
        right: Right answers of each class.
        total: Examples of each class.
    """

    right: tuple[int, ...]
    total: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.right) != len(self.total) or any(not 0 <= r <= t for r, t in zip(self.right, self.total, strict=True)):
            raise SettingError(f"right {self.right} of {self.total}; expected one count per class, none above its total")
        if not sum(self.total):
            raise SettingError("no examples to count; expected at least one")

    @property
    def examples(self) -> int:
        """How many examples there are."""
        return sum(self.total)

    @property
    def hits(self) -> int:
        """How many were answered rightly."""
        return sum(self.right)

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.hits / self.examples

    @property
    def recalls(self) -> tuple[float | None, ...]:
        """Share of right answers in each class, None where a class is empty."""
        return tuple(r / t if t else None for r, t in zip(self.right, self.total, strict=True))

    @property
    def balanced(self) -> float:
        """Mean of the classes' shares: 1/K for any constant answer."""
        shares = [share for share in self.recalls if share is not None]
        return sum(shares) / len(shares)

    @property
    def sensitivity(self) -> float | None:
        """Share of right answers among the positives (class 1 of two), else None."""
        return self.recalls[1] if len(self.total) == 2 else None

    @property
    def specificity(self) -> float | None:
        """Share of right answers among the negatives (class 0 of two), else None."""
        return self.recalls[0] if len(self.total) == 2 else None

    @property
    def baseline(self) -> float:
        """Accuracy of the best constant answer."""
        return max(self.total) / self.examples

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Clopper-Pearson interval of the accuracy in the population that the examples were drawn from."""
        return binomial_interval(self.hits, self.examples, confidence)
