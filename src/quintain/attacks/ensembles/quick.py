"""The attack to begin with: nearly AutoAttack's verdicts, for a small part of its cost."""

from dataclasses import dataclass
from typing import ClassVar

from quintain.attacks.base import Attack
from quintain.attacks.ensembles.autoattack import SQUARE_PATIENCE_DIVISOR
from quintain.attacks.ensembles.ensemble import EnsembleBase
from quintain.attacks.gradient.apgd import APGD
from quintain.attacks.minimum_norm.fab import FAB
from quintain.attacks.score_based.square import Square
from quintain.core.threat_specs import threat_name
from quintain.threats.threat import Threat

TARGET_CLASSES = 2
"""How many rivals are climbed towards."""


@dataclass(frozen=True, slots=True)
class Quick(EnsembleBase):
    r"""A planned budget, the cheap attacks first: APGD on the margin and on the cross-entropy, a short Square, APGD towards two rivals.

    Climbs are given up early (see ``APGD``), and Square's schedule is stretched to its questions. With two
    classes, where all losses are one, restarts take the place of the other losses; in L1, for which Square is
    not made, FAB takes that of Square.

    Args:
        steps: Gradients of each climb.
        queries: How often Square asks.
        patience: When APGD gives a climb up, and, at a quarter of it, Square an example; see there.

    Raises:
        SettingError: If a setting is out of range.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may
        still be breakable.

    Source: Croce and Hein, 2020, arXiv:2003.01690; Andriushchenko et al., 2020, arXiv:1912.00049.
    """

    name: ClassVar[str] = "quick"
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    steps: int = 100
    queries: int = 2000
    patience: float = 0.5

    def __post_init__(self) -> None:
        APGD(self.steps, patience=self.patience)
        Square(self.queries)

    def plan(self, threat: Threat, classes: int) -> tuple[Attack, ...]:
        """Climbs, then a search without gradients, then climbs towards rivals."""
        target_classes = min(TARGET_CLASSES, classes - 1)
        square, walks = (
            Square(self.queries, patience=self.patience / SQUARE_PATIENCE_DIVISOR),
            FAB(self.steps, target_classes, early_stop=True),
        )
        search = square if threat_name(threat.spec) in Square.supports else walks
        if classes == 2:
            return (
                APGD(self.steps, 1, "margin", patience=self.patience),
                search,
                APGD(self.steps, TARGET_CLASSES, "margin", patience=self.patience),
            )
        return (
            APGD(self.steps, 1, "margin", patience=self.patience),
            APGD(self.steps, 1, "ce", patience=self.patience),
            search,
            APGD(self.steps, 1, "dlr", target_classes, self.patience),
        )
