"""Attacks that follow the model's gradient inside a threat."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.attacks.gradient.fgsm import FGSM as FGSM
    from quintain.attacks.gradient.fgsm import fgsm_attack as fgsm_attack
    from quintain.attacks.gradient.pgd import PGD as PGD

HOMES = {
    "FGSM": "quintain.attacks.gradient.fgsm",
    "PGD": "quintain.attacks.gradient.pgd",
    "fgsm_attack": "quintain.attacks.gradient.fgsm",
}

__getattr__, __dir__ = lazy_exports(__name__, HOMES)
