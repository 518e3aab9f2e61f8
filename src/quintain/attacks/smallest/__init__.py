"""Attacks that seek the smallest change that breaks each example."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.attacks.smallest.carlini_wagner import CarliniWagner as CarliniWagner
    from quintain.attacks.smallest.ddn import DDN as DDN
    from quintain.attacks.smallest.deepfool import DeepFool as DeepFool
    from quintain.attacks.smallest.ead import EAD as EAD
    from quintain.attacks.smallest.fab import FAB as FAB
    from quintain.attacks.smallest.fmn import FMN as FMN
    from quintain.attacks.smallest.jsma import JSMA as JSMA
    from quintain.attacks.smallest.sigma_zero import SigmaZero as SigmaZero
    from quintain.attacks.smallest.superdeepfool import SuperDeepFool as SuperDeepFool

HOMES = {
    "CarliniWagner": "quintain.attacks.smallest.carlini_wagner",
    "DDN": "quintain.attacks.smallest.ddn",
    "DeepFool": "quintain.attacks.smallest.deepfool",
    "EAD": "quintain.attacks.smallest.ead",
    "FAB": "quintain.attacks.smallest.fab",
    "FMN": "quintain.attacks.smallest.fmn",
    "JSMA": "quintain.attacks.smallest.jsma",
    "SigmaZero": "quintain.attacks.smallest.sigma_zero",
    "SuperDeepFool": "quintain.attacks.smallest.superdeepfool",
}

__getattr__, __dir__ = lazy_exports(__name__, HOMES)
