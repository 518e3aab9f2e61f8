"""AutoAttack: four attacks that need no tuning, one after the other."""

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
"""The published plans: for most models, for the last doubt, and for models that answer at random."""

RESTARTS = 5
"""How often a climb on one loss is started in ``plus`` and in L1."""

SQUARE_PATIENCE_DIVISOR = 4
"""How much less hope Square gets than APGD: of the rises of a random search, most come early."""

EOT_SAMPLES = 20
"""How often a model that answers at random is asked for each answer."""


@dataclass(frozen=True, slots=True)
class AutoAttack(EnsembleBase):
    r"""APGD on the cross-entropy, then towards each rival class, FAB towards each rival class, and Square, each on what still stands.

    ``plus`` adds restarts, and APGD on the difference of logits ratio; ``rand`` is APGD on both losses for a
    model that answers at random, whose answers are averaged over 20 draws, in gradients and in what is
    judged.

    The rivals are guides, at most the K - 1 wrong classes that there are: with three or four classes the
        losses have a form that
    serves. With two, all losses rise and fall together, and climbs on them differ by their start alone: there
    the budget of the climbs towards rivals goes to restarts.

    Args:
        version: ``standard``, ``plus`` or ``rand``.
        steps: Gradients of each climb and of each walk.
        target_classes: How many rivals APGD follows; in L1 at most 5.
        fab_target_classes: How many of them FAB follows; 9 as published.
        queries: How often Square asks.
        patience: When APGD gives a climb up, and, at a quarter of it, Square an example; see there. Infinity
            is as published.

    Raises:
        SettingError: If there is no such version, or a number is out of range.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may
        still be breakable.

    Source: Croce and Hein, 2020, arXiv:2003.01690; for L1, 2021, arXiv:2103.01208.
    """

    name: ClassVar[str] = "autoattack"
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    version: str = "standard"
    steps: int = 100
    target_classes: int = 9
    fab_target_classes: int = 3
    queries: int = 5000
    patience: float = 1.0

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise SettingError(f"version = {self.version!r}; expected one of {', '.join(VERSIONS)}")
        APGD(self.steps, target_classes=self.target_classes, loss="dlr", patience=self.patience)
        FAB(self.steps, self.fab_target_classes)
        Square(self.queries)

    def plan(self, threat: Threat, classes: int) -> tuple[Attack, ...]:
        """The published attacks and budgets for the threat's norm."""
        kind = threat_name(threat.spec)
        target_classes = min(self.target_classes, classes - 1)
        restarts = RESTARTS if self.version == "plus" or kind == "l1" else 1
        apgd_ce = self._apgd("ce", restarts=restarts)
        apgd_dlr = self._apgd("dlr", restarts=restarts)
        if self.version == "rand":
            return (apgd_ce, apgd_dlr) if classes > 2 else (self._apgd("margin", restarts=2 * restarts),)
        apgd_t = self._apgd("dlr", target_classes=min(target_classes, 5) if kind == "l1" else target_classes)
        rest: tuple[Attack, ...] = (FAB(self.steps, min(self.fab_target_classes, classes - 1), restarts, early_stop=True),)
        if kind in Square.supports:
            rest += (Square(self.queries, patience=self.patience / SQUARE_PATIENCE_DIVISOR),)
        if classes == 2:
            return (self._apgd("margin", restarts=restarts + self.target_classes), *rest)
        return (apgd_ce, apgd_dlr, apgd_t, *rest) if self.version == "plus" else (apgd_ce, apgd_t, *rest)

    def _apgd(self, loss: str, *, restarts: int = 1, target_classes: int = 0) -> APGD:
        return APGD(self.steps, restarts, loss, target_classes, math.inf if self.version == "rand" else self.patience)

    def wrap_model(self, model: Model) -> Model:
        """The mean of many answers, where they are random."""
        return EOT(model, EOT_SAMPLES) if self.version == "rand" else model
