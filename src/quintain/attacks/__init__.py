"""Evasion: how far inside a threat a model's answer can be turned; every break is a point that anybody can replay."""

from typing import TYPE_CHECKING

from quintain.attacks.adaptive import HOMES as ADAPTIVE
from quintain.attacks.ensembles import HOMES as ENSEMBLES
from quintain.attacks.gradient import HOMES as GRADIENT
from quintain.attacks.labels import HOMES as LABELS
from quintain.attacks.physical import HOMES as PHYSICAL
from quintain.attacks.scores import HOMES as SCORES
from quintain.attacks.smallest import HOMES as SMALLEST
from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.attacks.adaptive import *
    from quintain.attacks.ascent import ascend as ascend
    from quintain.attacks.ensembles import *
    from quintain.attacks.goal import Goal as Goal
    from quintain.attacks.gradient import *
    from quintain.attacks.labels import *
    from quintain.attacks.loop import climb as climb
    from quintain.attacks.method import Method as Method
    from quintain.attacks.outcome import AttackOutcome as AttackOutcome
    from quintain.attacks.perturbation import Perturbation as Perturbation
    from quintain.attacks.perturbation import Score as Score
    from quintain.attacks.perturbation import held_out as held_out
    from quintain.attacks.perturbation import score as score
    from quintain.attacks.physical import *
    from quintain.attacks.scores import *
    from quintain.attacks.search import Search as Search
    from quintain.attacks.smallest import *

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
        "Method": "quintain.attacks.method",
        "Perturbation": "quintain.attacks.perturbation",
        "Score": "quintain.attacks.perturbation",
        "Search": "quintain.attacks.search",
        "ascend": "quintain.attacks.ascent",
        "climb": "quintain.attacks.loop",
        "held_out": "quintain.attacks.perturbation",
        "score": "quintain.attacks.perturbation",
    },
)
