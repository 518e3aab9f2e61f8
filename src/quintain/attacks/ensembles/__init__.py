"""Ensembles: attacks one after the other, each on the examples that are not yet broken."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.attacks.ensembles.autoattack import AutoAttack as AutoAttack
    from quintain.attacks.ensembles.ensemble import Ensemble as Ensemble
    from quintain.attacks.ensembles.quick import Quick as Quick
    from quintain.attacks.ensembles.strongest import Strongest as Strongest

EXPORTS = {
    "AutoAttack": "quintain.attacks.ensembles.autoattack",
    "Ensemble": "quintain.attacks.ensembles.ensemble",
    "Quick": "quintain.attacks.ensembles.quick",
    "Strongest": "quintain.attacks.ensembles.strongest",
}

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
