"""The attack to begin with: nearly AutoAttack's verdicts, for a small part of its cost."""

from dataclasses import dataclass
from typing import ClassVar

from quintain.attacks.ensembles.autoattack import SLOWER
from quintain.attacks.ensembles.ensemble import Combined
from quintain.attacks.gradient.apgd import APGD
from quintain.attacks.method import Method
from quintain.attacks.scores.square import Square
from quintain.attacks.smallest.fab import FAB
from quintain.core.tokens import kind_of
from quintain.threats.ball import Ball

RIVALS = 2
"""How many rivals are climbed towards."""


@dataclass(frozen=True, slots=True)
class Quick(Combined):
    r"""A planned budget, the cheap attacks first: APGD on the margin and on the cross-entropy, a short Square, APGD towards two rivals.

    Climbs are given up early (see ``APGD``), and Square's schedule is stretched to its questions. With two classes, where all losses
    are one, restarts take the place of the other losses; in L1, for which Square is not made, FAB takes that of Square.

    Args:
        steps: Gradients of each climb.
        questions: How often Square asks.
        hope: When APGD gives a climb up, and, at a quarter of it, Square an example; see there.

    Raises:
        SettingError: If a setting is out of range.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Croce and Hein, 2020, arXiv:2003.01690; Andriushchenko et al., 2020, arXiv:1912.00049.
    """

    name: ClassVar[str] = "quick"
    serves: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    steps: int = 100
    questions: int = 2000
    hope: float = 0.5

    def __post_init__(self) -> None:
        APGD(self.steps, hope=self.hope)
        Square(self.questions)

    def plan(self, threat: Ball, classes: int) -> tuple[Method, ...]:
        """Climbs, then a search without gradients, then climbs towards rivals."""
        rivals = min(RIVALS, classes - 1)
        square, walks = Square(self.questions, hope=self.hope / SLOWER), FAB(self.steps, rivals, within=True)
        search = square if kind_of(threat.token) in Square.serves else walks
        if classes == 2:
            return APGD(self.steps, 1, "margin", hope=self.hope), search, APGD(self.steps, RIVALS, "margin", hope=self.hope)
        return (
            APGD(self.steps, 1, "margin", hope=self.hope),
            APGD(self.steps, 1, "ce", hope=self.hope),
            search,
            APGD(self.steps, 1, "dlr", rivals, self.hope),
        )


def quick(*, steps: int = 100, questions: int = 2000, hope: float = 0.5) -> Quick:
    """The quick ensemble; see ``Quick`` for its settings."""
    return Quick(steps, questions, hope)
