"""The quick ensemble: nearly as strong as AutoAttack, at a fraction of its cost."""

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
"""Number of target classes of the last run of APGD; with two classes in all, its number of restarts."""

DDN_GAMMA = 0.1
"""Relative change of DDN's radius per step: twice its default, so that half as many steps get as far."""


@dataclass(frozen=True, slots=True)
class Quick(EnsembleBase):
    r"""Four attacks with small budgets: APGD on the margin and on cross-entropy, Square, and targeted APGD.

    Runs of APGD drop examples without progress (``patience``), and Square's schedule is stretched to its
    queries. Some threats and models get other attacks:

    - L2: DDN replaces APGD on cross-entropy. It approaches the boundary from outside the ball, and so also
      breaks nets whose gradients inside the ball point away from it.
    - L1: FAB replaces Square, which does not support it.
    - Two classes: every loss is a monotone function of the margin, so APGD on cross-entropy is left out (DDN
      stays), and restarts of APGD on the margin replace the targeted run.

    Args:
        steps: Gradients of each run of APGD and FAB; DDN takes half as many, and up to 20 that find its first
            success.
        queries: Square's queries per example.
        patience: ``APGD.patience``; Square gets a quarter of it.

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
    summary: ClassVar[str] = "nearly AutoAttack's results at a fraction of its cost: the one to begin with"
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
        # the members refuse settings that are out of range
        APGD(self.steps, patience=self.patience)
        Square(self.queries)

    def plan(self, threat: Threat, num_classes: int) -> tuple[Attack, ...]:
        """Return the attacks for a threat and a number of classes, in the order in which they run."""
        kind = threat_name(threat.spec)
        target_classes = min(TARGET_CLASSES, num_classes - 1)
        untargeted: list[Attack] = [APGD(self.steps, loss="margin", patience=self.patience)]
        if kind in DDN.supports:
            untargeted.append(DDN(max(1, self.steps // 2), DDN_GAMMA))
        elif num_classes > 2:
            untargeted.append(APGD(self.steps, loss="ce", patience=self.patience))
        square_or_fab = (
            Square(self.queries, patience=self.patience / SQUARE_PATIENCE_DIVISOR)
            if kind in Square.supports
            else FAB(self.steps, target_classes, early_stop=True)
        )
        targeted = (
            APGD(self.steps, restarts=TARGET_CLASSES, loss="margin", patience=self.patience)
            if num_classes == 2
            else APGD(self.steps, loss="dlr", target_classes=target_classes, patience=self.patience)
        )
        return (*untargeted, square_or_fab, targeted)
