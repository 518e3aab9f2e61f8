"""AutoAttack: four attacks that need no tuning, one after the other."""

import math
from dataclasses import dataclass
from typing import ClassVar

from quintain.attacks.adaptive.eot import EOT
from quintain.attacks.ensembles.ensemble import Combined
from quintain.attacks.gradient.apgd import APGD
from quintain.attacks.method import Method
from quintain.attacks.outcome import Model
from quintain.attacks.scores.square import Square
from quintain.attacks.smallest.fab import FAB
from quintain.core.errors import SettingError
from quintain.core.tokens import kind_of
from quintain.threats.ball import Ball

VERSIONS = ("standard", "plus", "rand")
"""The published plans: for most models, for the last doubt, and for models that answer at random."""

RESTARTS = 5
"""How often a climb on one loss is started in ``plus`` and in L1."""

SLOWER = 4
"""How much less hope Square gets than APGD: of the rises of a random search, most come early."""

DRAWS = 20
"""How often a model that answers at random is asked for each answer."""


@dataclass(frozen=True, slots=True)
class AutoAttack(Combined):
    r"""APGD on the cross-entropy, then towards each rival class, FAB towards each rival class, and Square, each on what still stands.

    ``plus`` adds restarts, and APGD on the difference of logits ratio; ``rand`` is APGD on both losses for a model that answers at
    random, whose answers are averaged over 20 draws, in gradients and in what is judged.

    The rivals are guides, at most the K - 1 wrong classes that there are: with three or four classes the losses have a form that
    serves. With two, all losses rise and fall together, and climbs on them differ by their start alone: there the budget of the climbs
    towards rivals goes to restarts.

    Args:
        version: ``standard``, ``plus`` or ``rand``.
        steps: Gradients of each climb and of each walk.
        targets: How many rivals APGD follows; in L1 at most 5.
        walks: How many of them FAB follows; 9 as published.
        questions: How often Square asks.
        hope: When APGD gives a climb up, and, at a quarter of it, Square an example; see there. Infinity is as published.

    Raises:
        SettingError: If there is no such version, or a number is out of range.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Croce and Hein, 2020, arXiv:2003.01690; for L1, 2021, arXiv:2103.01208.
    """

    name: ClassVar[str] = "autoattack"
    serves: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    version: str = "standard"
    steps: int = 100
    targets: int = 9
    walks: int = 3
    questions: int = 5000
    hope: float = 1.0

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise SettingError(f"version = {self.version!r}; expected one of {', '.join(VERSIONS)}")
        APGD(self.steps, targets=self.targets, loss="dlr", hope=self.hope)
        FAB(self.steps, self.walks)
        Square(self.questions)

    def plan(self, threat: Ball, classes: int) -> tuple[Method, ...]:
        """The published attacks and budgets for the threat's norm."""
        kind = kind_of(threat.token)
        rivals = min(self.targets, classes - 1)
        starts = RESTARTS if self.version == "plus" or kind == "l1" else 1
        first = self._climb("ce", restarts=starts)
        second = self._climb("dlr", restarts=starts)
        if self.version == "rand":
            return (first, second) if classes > 2 else (self._climb("margin", restarts=2 * starts),)
        aimed = self._climb("dlr", targets=min(rivals, 5) if kind == "l1" else rivals)
        last: tuple[Method, ...] = (FAB(self.steps, min(self.walks, classes - 1), starts, within=True),)
        if kind in Square.serves:
            last += (Square(self.questions, hope=self.hope / SLOWER),)
        if classes == 2:
            return (self._climb("margin", restarts=starts + self.targets), *last)
        return (first, second, aimed, *last) if self.version == "plus" else (first, aimed, *last)

    def _climb(self, loss: str, *, restarts: int = 1, targets: int = 0) -> APGD:
        return APGD(self.steps, restarts, loss, targets, math.inf if self.version == "rand" else self.hope)

    def asked(self, model: Model) -> Model:
        """The mean of many answers, where they are random."""
        return EOT(model, DRAWS) if self.version == "rand" else model


def autoattack(
    version: str = "standard", *, steps: int = 100, targets: int = 9, walks: int = 3, questions: int = 5000, hope: float = 1.0
) -> AutoAttack:
    """AutoAttack in one of its versions; see ``AutoAttack`` for its settings."""
    return AutoAttack(version, steps, targets, walks, questions, hope)
