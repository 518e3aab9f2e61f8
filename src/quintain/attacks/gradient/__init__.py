"""Attacks that follow the model's gradient inside a threat."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.attacks.gradient.a3 import A3 as A3
    from quintain.attacks.gradient.acg import ACG as ACG
    from quintain.attacks.gradient.apgd import APGD as APGD
    from quintain.attacks.gradient.fgsm import FGSM as FGSM
    from quintain.attacks.gradient.fgsm import fgsm_attack as fgsm_attack
    from quintain.attacks.gradient.minimum_margin import MinimumMargin as MinimumMargin
    from quintain.attacks.gradient.pgd import PGD as PGD
    from quintain.attacks.gradient.pma import PMA as PMA

HOMES = {
    "A3": "quintain.attacks.gradient.a3",
    "ACG": "quintain.attacks.gradient.acg",
    "APGD": "quintain.attacks.gradient.apgd",
    "MinimumMargin": "quintain.attacks.gradient.minimum_margin",
    "PMA": "quintain.attacks.gradient.pma",
    "FGSM": "quintain.attacks.gradient.fgsm",
    "PGD": "quintain.attacks.gradient.pgd",
    "fgsm_attack": "quintain.attacks.gradient.fgsm",
}

__getattr__, __dir__ = lazy_exports(__name__, HOMES)
