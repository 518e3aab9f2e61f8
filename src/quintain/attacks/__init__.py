"""Evasion attacks: search for adversarial examples allowed by a threat model.

Each success can be replayed.
"""

from typing import TYPE_CHECKING

from quintain.attacks.adaptive import EXPORTS as ADAPTIVE
from quintain.attacks.decision_based import EXPORTS as LABELS
from quintain.attacks.ensembles import EXPORTS as ENSEMBLES
from quintain.attacks.gradient import EXPORTS as GRADIENT
from quintain.attacks.minimum_norm import EXPORTS as SMALLEST
from quintain.attacks.score_based import EXPORTS as SCORES
from quintain.attacks.universal import EXPORTS as PHYSICAL
from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.attacks.adaptive import *
    from quintain.attacks.ascent_loop import gradient_ascent as gradient_ascent
    from quintain.attacks.base import Attack as Attack
    from quintain.attacks.decision_based import *
    from quintain.attacks.ensembles import *
    from quintain.attacks.goal import Goal as Goal
    from quintain.attacks.gradient import *
    from quintain.attacks.inner_maximization import maximize_loss as maximize_loss
    from quintain.attacks.minimum_norm import *
    from quintain.attacks.outcome import AttackOutcome as AttackOutcome
    from quintain.attacks.perturbation import Perturbation as Perturbation
    from quintain.attacks.perturbation import SuccessRate as SuccessRate
    from quintain.attacks.perturbation import held_out as held_out
    from quintain.attacks.perturbation import success_rate as success_rate
    from quintain.attacks.score_based import *
    from quintain.attacks.search import Search as Search
    from quintain.attacks.universal import *

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        **GRADIENT,
        **SMALLEST,
        **SCORES,
        **LABELS,
        **PHYSICAL,
        **ENSEMBLES,
        **ADAPTIVE,
        "AttackOutcome": "quintain.attacks.outcome",
        "Goal": "quintain.attacks.goal",
        "Attack": "quintain.attacks.base",
        "Perturbation": "quintain.attacks.perturbation",
        "SuccessRate": "quintain.attacks.perturbation",
        "Search": "quintain.attacks.search",
        "maximize_loss": "quintain.attacks.inner_maximization",
        "gradient_ascent": "quintain.attacks.ascent_loop",
        "held_out": "quintain.attacks.perturbation",
        "success_rate": "quintain.attacks.perturbation",
    },
)
