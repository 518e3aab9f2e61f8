"""AutoAttack: four attacks without tuning, each on the examples that are not yet broken."""

import math
from dataclasses import dataclass
from typing import ClassVar

from quintain.attacks.adaptive.eot import EOT
from quintain.attacks.base import Attack
from quintain.attacks.ensembles.ensemble import EnsembleBase
from quintain.attacks.gradient.apgd import APGD
from quintain.attacks.minimum_norm.fab import FAB
from quintain.attacks.outcome import Model
from quintain.attacks.score_based.square import Square
from quintain.core.errors import SettingError
from quintain.core.threat_specs import threat_name
from quintain.threats.threat import Threat

VERSIONS = ("standard", "plus", "rand")
"""The published versions: for most models, with restarts, and for randomized models."""

RESTARTS = 5
"""Restarts of APGD on one loss in ``plus`` and in L1."""

SQUARE_PATIENCE_DIVISOR = 4
"""Square's patience is APGD's divided by this.

Random search makes most of its progress in its first queries, so its average progress overestimates the rest
by more than gradient ascent's does.
"""

EOT_SAMPLES = 20
"""Forward passes of a randomized model per query (``eot_iter`` of AutoAttack)."""


@dataclass(frozen=True, slots=True)
class AutoAttack(EnsembleBase):
    r"""APGD-CE, APGD-T, FAB-T and Square, each on the examples that are not yet broken.

    ``plus`` adds restarts and APGD-DLR; ``rand`` is APGD on both losses for a randomized model, whose log
    probabilities are averaged over 20 forward passes, for gradients and for success.

    APGD-T and FAB-T are aimed at the ``target_classes`` wrong classes with the largest clean logits, at most
    K - 1. A target class only shapes the loss; any misclassification is a success. DLR and targeted DLR are
    defined for K = 3 and 4 too. For K = 2 every loss is a monotone function of the margin, so runs differ
    only in their random start: there APGD-T's budget is spent on restarts of APGD on the margin.

    Args:
        version: ``standard``, ``plus`` or ``rand``.
        steps: Gradients of each run of APGD and FAB.
        target_classes: Number of target classes of APGD-T; in L1 at most 5.
        fab_target_classes: Number of target classes of FAB-T; 9 as published.
        queries: Square's queries per example.
        patience: ``APGD.patience``; Square gets a quarter of it. inf is as published.

    Raises:
        SettingError: If there is no such version, or a number is out of range.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Croce and Hein, 2020, arXiv:2003.01690; for L1, 2021, arXiv:2103.01208.
    """

    name: ClassVar[str] = "autoattack"
    strength: ClassVar[int] = 6
    is_ensemble: ClassVar[bool] = True
    summary: ClassVar[str] = (
        "APGD-CE, APGD-T, FAB-T and Square, each on the examples not yet broken: the standard to report"
    )
    use_for: ClassVar[str] = "the number to report and to compare with"
    cost: ClassVar[str] = (
        "{steps} gradients for each of 1 + {target_classes} runs of APGD and {fab_target_classes} of FAB, "
        "then {queries}"
    )
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    optimality_gap: ClassVar = {"l1": 0.03}
    test_settings: ClassVar = {"steps": 8, "target_classes": 2, "queries": 20}
    gap_test_settings: ClassVar = {"steps": 25, "target_classes": 1, "queries": 50}

    version: str = "standard"
    steps: int = 100
    target_classes: int = 9
    fab_target_classes: int = 3
    queries: int = 5000
    patience: float = 1.0

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise SettingError(f"version = {self.version!r}; expected one of {', '.join(VERSIONS)}")
        # each refuses its settings where they are out of range
        APGD(self.steps, target_classes=self.target_classes, loss="dlr", patience=self.patience)
        FAB(self.steps, self.fab_target_classes)
        Square(self.queries)

    def plan(self, threat: Threat, num_classes: int) -> tuple[Attack, ...]:
        """Return the published attacks and budgets for the threat's norm."""
        # what the published versions have in common, by norm and number of classes
        kind = threat_name(threat.spec)
        target_classes = min(self.target_classes, num_classes - 1)
        restarts = RESTARTS if self.version == "plus" or kind == "l1" else 1
        apgd_ce = self._apgd("ce", restarts=restarts)
        apgd_dlr = self._apgd("dlr", restarts=restarts)
        # for a randomized model: both losses of APGD, nothing targeted and no search by scores
        if self.version == "rand":
            return (apgd_ce, apgd_dlr) if num_classes > 2 else (self._apgd("margin", restarts=2 * restarts),)
        # targeted APGD, FAB, and Square where it supports the norm
        apgd_t = self._apgd("dlr", target_classes=min(target_classes, 5) if kind == "l1" else target_classes)
        rest: tuple[Attack, ...] = (
            FAB(self.steps, min(self.fab_target_classes, num_classes - 1), restarts, early_stop=True),
        )
        if kind in Square.supports:
            rest += (Square(self.queries, patience=self.patience / SQUARE_PATIENCE_DIVISOR),)
        # two classes have one wrong one: the targeted runs become restarts on the margin
        if num_classes == 2:
            return (self._apgd("margin", restarts=restarts + self.target_classes), *rest)
        return (apgd_ce, apgd_dlr, apgd_t, *rest) if self.version == "plus" else (apgd_ce, apgd_t, *rest)

    def _apgd(self, loss: str, *, restarts: int = 1, target_classes: int = 0) -> APGD:
        return APGD(
            steps=self.steps,
            restarts=restarts,
            loss=loss,
            target_classes=target_classes,
            patience=math.inf if self.version == "rand" else self.patience,
        )

    def wrap_model(self, model: Model) -> Model:
        """Average a randomized model over ``EOT_SAMPLES`` forward passes."""
        return EOT(model, EOT_SAMPLES) if self.version == "rand" else model
