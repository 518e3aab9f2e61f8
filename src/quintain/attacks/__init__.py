"""Evasion attacks: search for adversarial examples allowed by a threat model.

Each success can be replayed. The registered attacks are exported by the generated index; what else is public
stands here.
"""

from typing import TYPE_CHECKING

from quintain.attacks._index import EXPORTS
from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.attacks._index import *
    from quintain.attacks.adaptive.bpda import BPDA as BPDA
    from quintain.attacks.adaptive.eot import EOT as EOT
    from quintain.attacks.adaptive.voting import MajorityVote as MajorityVote
    from quintain.attacks.adaptive.voting import majority_vote as majority_vote
    from quintain.attacks.ascent_loop import gradient_ascent as gradient_ascent
    from quintain.attacks.base import Attack as Attack
    from quintain.attacks.ensembles.ensemble import Ensemble as Ensemble
    from quintain.attacks.goal import Goal as Goal
    from quintain.attacks.gradient.fgsm import fgsm_attack as fgsm_attack
    from quintain.attacks.inner_maximization import maximize_loss as maximize_loss
    from quintain.attacks.outcome import AttackOutcome as AttackOutcome
    from quintain.attacks.perturbation import Perturbation as Perturbation
    from quintain.attacks.perturbation import SuccessRate as SuccessRate
    from quintain.attacks.perturbation import held_out as held_out
    from quintain.attacks.perturbation import success_rate as success_rate
    from quintain.attacks.search import Search as Search
    from quintain.attacks.transfer.transfer import Transfer as Transfer
    from quintain.attacks.universal.adversarial_patch import side_marker as side_marker
    from quintain.attacks.universal.base import UniversalAttack as UniversalAttack
    from quintain.attacks.universal.export import export_patch as export_patch
    from quintain.attacks.universal.fitted_patch import FittedPatch as FittedPatch
    from quintain.attacks.universal.phantom import FittedLight as FittedLight
    from quintain.attacks.universal.printing import Printing as Printing
    from quintain.attacks.universal.printing import non_printability as non_printability
    from quintain.attacks.universal.uap import UniversalPerturbation as UniversalPerturbation
    from quintain.attacks.universal.view import View as View

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
