"""AutoAttack without early stopping, and attacks that find other optima."""

import math
from dataclasses import dataclass
from typing import ClassVar

from quintain.attacks.base import Attack
from quintain.attacks.ensembles.autoattack import AutoAttack
from quintain.attacks.ensembles.ensemble import EnsembleBase
from quintain.attacks.gradient.a3 import A3
from quintain.attacks.gradient.acg import ACG
from quintain.attacks.gradient.apgd import APGD
from quintain.attacks.gradient.minimum_margin import MinimumMargin
from quintain.attacks.gradient.pma import PMA
from quintain.attacks.minimum_norm.ddn import DDN
from quintain.attacks.minimum_norm.fmn import FMN
from quintain.attacks.score_based.square import Square
from quintain.core.threat_specs import threat_name
from quintain.threats.threat import Threat

SQUARE_RESTARTS = 2
"""Random starts of the second Square, besides the one in AutoAttack."""


@dataclass(frozen=True, slots=True)
class Strongest(EnsembleBase):
    r"""AutoAttack without early stopping, then attacks that find other optima.

    These are APGD on the margin, PMA, ACG, A3, the minimum-margin attack, FMN, Square from new starts, and
    DDN: each where it supports the threat.

    Args:
        steps: Gradients of each run; a fifth of it for each round of A3 and each target class of the
            minimum-margin attack.
        target_classes: Number of target classes of APGD-T, FAB-T and the minimum-margin attack.
        queries: Square's queries per run.

    Raises:
        SettingError: If a setting is out of range.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Those of its members.
    """

    name: ClassVar[str] = "strongest"
    strength: ClassVar[int] = 7
    is_ensemble: ClassVar[bool] = True
    summary: ClassVar[str] = (
        "AutoAttack without early stopping, then attacks that find other optima: the final check"
    )
    use_for: ClassVar[str] = "before a claim of robustness is published"
    cost: ClassVar[str] = (
        "AutoAttack plus at {steps}, {target_classes} and {queries} without early stopping, then other "
        "attacks"
    )
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    optimality_gap: ClassVar = {"l1": 0.03}
    test_settings: ClassVar = {"steps": 6, "target_classes": 1, "queries": 20}
    gap_test_settings: ClassVar = {"steps": 20, "target_classes": 1, "queries": 50}

    steps: int = 100
    target_classes: int = 9
    queries: int = 5000

    def __post_init__(self) -> None:
        # AutoAttack refuses settings that are out of range
        self._autoattack()

    def plan(self, threat: Threat, num_classes: int) -> tuple[Attack, ...]:
        """Return AutoAttack's members, then those of the other attacks that support the threat."""
        kind = threat_name(threat.spec)
        others: tuple[Attack, ...] = (
            APGD(self.steps, loss="margin", restarts=2),
            PMA(self.steps),
            ACG(self.steps),
            A3(steps=max(1, self.steps // 5)),
            MinimumMargin(max(1, self.steps // 5), min(self.target_classes, num_classes - 1)),
            FMN(self.steps),
            Square(self.queries, restarts=SQUARE_RESTARTS),
            DDN(self.steps),
        )
        return (
            *self._autoattack().plan(threat, num_classes),
            *(attack for attack in others if kind in attack.supports),
        )

    def _autoattack(self) -> AutoAttack:
        return AutoAttack(
            "plus",
            steps=self.steps,
            target_classes=self.target_classes,
            fab_target_classes=self.target_classes,
            queries=self.queries,
            patience=math.inf,
        )
