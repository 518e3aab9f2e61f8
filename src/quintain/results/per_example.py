"""What is known of each example: every count and every curve follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from quintain.core.errors import SettingError
from quintain.results.class_counts import ClassCounts


class ExampleState(StrEnum):
    """What is known of one example when changes up to one size are allowed."""

    CERTIFIED = "certified"
    BROKEN = "broken"
    OPEN = "open"
    ABSTAIN = "abstain"
    WRONG = "wrong"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class PerExample:
    """Two radii an example: how far it is proved, and how near it was broken.

    Args:
        ids: Row of each example in its data set.
        labels: True classes.
        predicted: Predictions for the unchanged examples; -1 where the output is NaN or the model abstained.
        certified_radius: Largest size of change proved harmless; 0 where nothing is proved.
        broken_radius: Smallest change found that breaks it; infinite where none was found, 0 where it is
            wrong unchanged.
        invalid: Whether the output of the model, or a bound, is NaN.
        abstained_radius: Largest asked size of change on which a certificate by sampling abstained: the
            noise samples that it may draw did not decide it. 0 where none is; empty where none were drawn.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    predicted: tuple[int, ...]
    certified_radius: tuple[float, ...]
    broken_radius: tuple[float, ...]
    invalid: tuple[bool, ...]
    abstained_radius: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        lengths = {
            len(self.ids),
            len(self.labels),
            len(self.predicted),
            len(self.certified_radius),
            len(self.broken_radius),
            len(self.invalid),
            len(self.abstained_radius or self.ids),
        }
        if len(lengths) != 1:
            raise SettingError(f"columns of {sorted(lengths)} examples; expected one length")
        radii = (*self.certified_radius, *self.broken_radius, *self.abstained_radius)
        strange = [radius for radius in radii if not radius >= 0]
        if strange:
            raise SettingError(
                f"a radius of {strange[0]}; expected a number from 0 up, with what gave none marked as failed"
            )

    def __repr__(self) -> str:
        return f"PerExample({len(self.ids)} examples)"

    def state(self, row: int, eps: float) -> ExampleState:
        """Return the state of one example when changes up to ``eps`` are allowed.

        Where the two bounds cross, the example counts as broken.
        """
        if self.invalid[row]:
            return ExampleState.ERROR
        if self.predicted[row] != self.labels[row]:
            return ExampleState.WRONG
        if self.broken_radius[row] <= eps:
            return ExampleState.BROKEN
        if self._proved(row, eps):
            return ExampleState.CERTIFIED
        abstained = self.abstained_radius[row] if self.abstained_radius else 0.0
        return ExampleState.ABSTAIN if 0 < eps <= abstained else ExampleState.OPEN

    def states(self, eps: float) -> tuple[ExampleState, ...]:
        """The state of every example at ``eps``."""
        return tuple(self.state(row, eps) for row in range(len(self.ids)))

    def certified_counts(self, eps: float, classes: int) -> ClassCounts:
        """Correctly classified examples that are proved to stay so, class by class."""
        return self._tally(classes, [self._proved(row, eps) for row in range(len(self.ids))])

    def unbroken_counts(self, eps: float, classes: int) -> ClassCounts:
        """Return the correctly classified examples that no attack has broken, class by class.

        An invalid example counts as unbroken.
        """
        kept = [
            self.invalid[row] or (self._is_correct(row) and radius > eps)
            for row, radius in enumerate(self.broken_radius)
        ]
        return self._tally(classes, kept)

    def contradictory_ids(self, eps: float) -> tuple[int, ...]:
        """Ids of the examples at which the two sides cross when changes up to ``eps`` are allowed: an alarm.

        Each has a certified radius above 0, and is either misclassified as it is or broken by a change inside
        that radius. An invalid example and one without a prediction (-1) refute nothing.
        """
        return tuple(name for row, name in enumerate(self.ids) if self._refuted(row, eps))

    def _refuted(self, row: int, eps: float) -> bool:
        if self.invalid[row] or not self.certified_radius[row] > 0:
            return False
        if self.predicted[row] != self.labels[row]:
            return self.predicted[row] >= 0
        return self.broken_radius[row] <= min(eps, self.certified_radius[row])

    def _proved(self, row: int, eps: float) -> bool:
        """Whether a proof of this size is there; a radius of 0 is none, also at size 0."""
        return self._is_correct(row) and self.certified_radius[row] >= eps and self.certified_radius[row] > 0

    def _is_correct(self, row: int) -> bool:
        return self.predicted[row] == self.labels[row] and not self.invalid[row]

    def _tally(self, classes: int, kept: Sequence[bool]) -> ClassCounts:
        correct, total = [0] * classes, [0] * classes
        for label, keep in zip(self.labels, kept, strict=True):
            total[label] += 1
            correct[label] += keep
        return ClassCounts(tuple(correct), tuple(total))
