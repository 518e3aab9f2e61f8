"""The attack to begin with: nearly as strong as AutoAttack, at a small part of its cost."""

from dataclasses import dataclass
from typing import ClassVar

from quintain.attacks.base import Attack
from quintain.attacks.ensembles.autoattack import SQUARE_PATIENCE_DIVISOR
from quintain.attacks.ensembles.ensemble import EnsembleBase
from quintain.attacks.gradient.apgd import APGD
from quintain.attacks.minimum_norm.ddn import DDN
from quintain.attacks.minimum_norm.fab import FAB
from quintain.attacks.score_based.square import Square
from quintain.core.threat_specs import threat_name
from quintain.threats.threat import Threat

TARGET_CLASSES = 2
"""Number of target classes of the targeted run."""

DDN_GAMMA = 0.1
"""By what share DDN's radius moves in L2: twice its default, so that half of its steps get as far."""


@dataclass(frozen=True, slots=True)
class Quick(EnsembleBase):
    r"""A small budget, cheap attacks first: APGD on two losses, a short Square, APGD towards two classes.

    Runs of APGD stop early (see there), and Square's schedule is stretched to its queries. With two classes,
    where all losses are one, restarts replace the other losses; in L1, which Square does not support, FAB
    replaces it. In L2, DDN replaces APGD on cross-entropy: it comes from outside the ball, and so breaks
    what gradients inside lead away from.

    Args:
        steps: Gradients of each run of APGD; DDN takes half as many, beside those of its start.
        queries: Square's queries per example.
        patience: When APGD drops an example, and, at a quarter of it, Square; see there.

    Raises:
        SettingError: If a setting is out of range.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Croce and Hein, 2020, arXiv:2003.01690; Andriushchenko et al., 2020, arXiv:1912.00049.
    """

    name: ClassVar[str] = "quick"
    strength: ClassVar[int] = 5
    is_ensemble: ClassVar[bool] = True
    summary: ClassVar[str] = (
        "nearly AutoAttack's verdicts for a small part of its cost: the one to begin with"
    )
    default_rank: ClassVar[int] = 1
    use_for: ClassVar[str] = "while you develop, in tests, on large sets"
    cost: ClassVar[str] = (
        "runs of {steps} gradients that stop early without progress, in L2 one of half as many by DDN, and "
        "{queries}"
    )
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    optimality_gap: ClassVar = {"l1": 0.03}
    test_settings: ClassVar = {"steps": 10, "queries": 40}
    gap_test_settings: ClassVar = {"steps": 20, "queries": 50}

    steps: int = 100
    queries: int = 2000
    patience: float = 0.5

    def __post_init__(self) -> None:
        APGD(self.steps, patience=self.patience)
        Square(self.queries)

    def plan(self, threat: Threat, classes: int) -> tuple[Attack, ...]:
        """Return untargeted runs, then a search without gradients, then the targeted run."""
        kind = threat_name(threat.spec)
        target_classes = min(TARGET_CLASSES, classes - 1)
        square = Square(self.queries, patience=self.patience / SQUARE_PATIENCE_DIVISOR)
        fab = FAB(self.steps, target_classes, early_stop=True)
        search = square if kind in Square.supports else fab
        first = APGD(self.steps, 1, "margin", patience=self.patience)
        second: tuple[Attack, ...] = ()
        if kind in DDN.supports:
            second = (DDN(max(1, self.steps // 2), DDN_GAMMA),)
        elif classes > 2:
            second = (APGD(self.steps, 1, "ce", patience=self.patience),)
        last = (
            APGD(self.steps, TARGET_CLASSES, "margin", patience=self.patience)
            if classes == 2
            else APGD(self.steps, loss="dlr", target_classes=target_classes, patience=self.patience)
        )
        return (first, *second, search, last)
