"""Gradient attacks: they ascend the model's loss inside a threat."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.attacks.gradient.a3 import A3 as A3
    from quintain.attacks.gradient.acg import ACG as ACG
    from quintain.attacks.gradient.apgd import APGD as APGD
    from quintain.attacks.gradient.bim import BIM as BIM
    from quintain.attacks.gradient.fgm import FGM as FGM
    from quintain.attacks.gradient.fgsm import FGSM as FGSM
    from quintain.attacks.gradient.fgsm import fgsm_attack as fgsm_attack
    from quintain.attacks.gradient.minimum_margin import MinimumMargin as MinimumMargin
    from quintain.attacks.gradient.pgd import PGD as PGD
    from quintain.attacks.gradient.pma import PMA as PMA
    from quintain.attacks.gradient.rs_fgsm import RSFGSM as RSFGSM
    from quintain.attacks.gradient.sparse_l1 import SparseL1Descent as SparseL1Descent
    from quintain.attacks.transfer.di_fgsm import DIFGSM as DIFGSM
    from quintain.attacks.transfer.mi_fgsm import MIFGSM as MIFGSM
    from quintain.attacks.transfer.ni_fgsm import NIFGSM as NIFGSM
    from quintain.attacks.transfer.ti_fgsm import TIFGSM as TIFGSM
    from quintain.attacks.transfer.transfer import Transfer as Transfer
    from quintain.attacks.universal.uap import UAP as UAP
    from quintain.attacks.universal.uap import UniversalPerturbation as UniversalPerturbation

EXPORTS = {
    "A3": "quintain.attacks.gradient.a3",
    "ACG": "quintain.attacks.gradient.acg",
    "APGD": "quintain.attacks.gradient.apgd",
    "BIM": "quintain.attacks.gradient.bim",
    "DIFGSM": "quintain.attacks.transfer.di_fgsm",
    "FGM": "quintain.attacks.gradient.fgm",
    "FGSM": "quintain.attacks.gradient.fgsm",
    "MIFGSM": "quintain.attacks.transfer.mi_fgsm",
    "MinimumMargin": "quintain.attacks.gradient.minimum_margin",
    "NIFGSM": "quintain.attacks.transfer.ni_fgsm",
    "PGD": "quintain.attacks.gradient.pgd",
    "PMA": "quintain.attacks.gradient.pma",
    "RSFGSM": "quintain.attacks.gradient.rs_fgsm",
    "SparseL1Descent": "quintain.attacks.gradient.sparse_l1",
    "TIFGSM": "quintain.attacks.transfer.ti_fgsm",
    "Transfer": "quintain.attacks.transfer.transfer",
    "UAP": "quintain.attacks.universal.uap",
    "UniversalPerturbation": "quintain.attacks.universal.uap",
    "fgsm_attack": "quintain.attacks.gradient.fgsm",
}

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
