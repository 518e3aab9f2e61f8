"""What was proved and found about each example; counts and curves of accuracy follow from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from quintain.core.errors import SettingError
from quintain.results.class_counts import ClassCounts


class ExampleState(StrEnum):
    """What is known of one example at one eps."""

    CERTIFIED = "certified"
    BROKEN = "broken"
    OPEN = "open"
    ABSTAIN = "abstain"
    WRONG = "wrong"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class PerExample:
    """The certified radius and the smallest adversarial change of each example.

    Args:
        ids: Row of each example in its data set.
        labels: True classes.
        predicted: Predictions for the unchanged examples; -1 where the output is NaN or the model abstained.
        certified_radius: Largest eps at which the example is certified; 0 where it is at none.
        broken_radius: Size of the smallest change found that breaks it; infinite where none was found, 0
            where it is misclassified without a change.
        invalid: Whether an output of the model, or a bound, was NaN.
        abstained_radius: Largest requested eps at which a certificate by sampling abstained: the allowed
            noise samples did not decide it. 0 where there is none; empty if no certificate was by sampling.

    Raises:
        SettingError: If the columns differ in length, or a radius is negative or NaN.
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
            "labels": len(self.labels),
            "predicted": len(self.predicted),
            "certified_radius": len(self.certified_radius),
            "broken_radius": len(self.broken_radius),
            "invalid": len(self.invalid),
            "abstained_radius": len(self.abstained_radius or self.ids),
        }
        wrong = [f"{name} of {length}" for name, length in lengths.items() if length != len(self.ids)]
        if wrong:
            raise SettingError(f"got {', '.join(wrong)} for {len(self.ids)} ids; expected one entry per id")
        for name in ("certified_radius", "broken_radius", "abstained_radius"):
            for radius in getattr(self, name):
                if not radius >= 0:
                    raise SettingError(
                        f"got {name} = {radius}; expected a number of at least 0, and invalid=True where "
                        "the model or a bound gave NaN"
                    )

    def __repr__(self) -> str:
        return f"PerExample({len(self.ids)} examples)"

    def state(self, row: int, eps: float) -> ExampleState:
        """Return the state of one example at ``eps``.

        An example that is both certified and broken counts as broken.
        """
        if self.invalid[row]:
            return ExampleState.ERROR
        if self.predicted[row] != self.labels[row]:
            return ExampleState.WRONG
        if self.broken_radius[row] <= eps:
            return ExampleState.BROKEN
        if self._is_certified(row, eps):
            return ExampleState.CERTIFIED
        abstained = self.abstained_radius[row] if self.abstained_radius else 0.0
        return ExampleState.ABSTAIN if 0 < eps <= abstained else ExampleState.OPEN

    def states(self, eps: float) -> tuple[ExampleState, ...]:
        """The state of every example at ``eps``."""
        return tuple(self.state(row, eps) for row in range(len(self.ids)))

    def certified_counts(self, eps: float, classes: int) -> ClassCounts:
        """Return the correctly classified examples that are certified at ``eps``, class by class."""
        return self._count(classes, [self._is_certified(row, eps) for row in range(len(self.ids))])

    def unbroken_counts(self, eps: float, classes: int) -> ClassCounts:
        """Return the correctly classified examples that no attack has broken, class by class.

        An invalid example counts as unbroken, so that the accuracy stays an upper bound.
        """
        kept = [
            self.invalid[row] or (self._is_correct(row) and radius > eps)
            for row, radius in enumerate(self.broken_radius)
        ]
        return self._count(classes, kept)

    def contradictory_ids(self, eps: float) -> tuple[int, ...]:
        """Return the ids of the examples whose certificate an attack contradicts at ``eps``: an alarm.

        Each has a certified radius above 0, and is misclassified without a change or broken by a change of at
        most that radius. Invalid examples, and those without a prediction (-1), contradict nothing.
        """
        return tuple(name for row, name in enumerate(self.ids) if self._is_contradictory(row, eps))

    def _is_contradictory(self, row: int, eps: float) -> bool:
        if self.invalid[row] or not self.certified_radius[row] > 0:
            return False
        if self.predicted[row] != self.labels[row]:
            return self.predicted[row] >= 0
        return self.broken_radius[row] <= min(eps, self.certified_radius[row])

    def _is_certified(self, row: int, eps: float) -> bool:
        """Whether the example is certified at ``eps``; a radius of 0 certifies nothing, not even eps 0."""
        return self._is_correct(row) and self.certified_radius[row] >= eps and self.certified_radius[row] > 0

    def _is_correct(self, row: int) -> bool:
        return self.predicted[row] == self.labels[row] and not self.invalid[row]

    def _count(self, classes: int, kept: Sequence[bool]) -> ClassCounts:
        correct, total = [0] * classes, [0] * classes
        for label, keep in zip(self.labels, kept, strict=True):
            total[label] += 1
            correct[label] += keep
        return ClassCounts(tuple(correct), tuple(total))
