"""Minimum-norm attacks: they seek the smallest successful perturbation."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.attacks.minimum_norm.carlini_wagner import CarliniWagner as CarliniWagner
    from quintain.attacks.minimum_norm.ddn import DDN as DDN
    from quintain.attacks.minimum_norm.deepfool import DeepFool as DeepFool
    from quintain.attacks.minimum_norm.ead import EAD as EAD
    from quintain.attacks.minimum_norm.fab import FAB as FAB
    from quintain.attacks.minimum_norm.fmn import FMN as FMN
    from quintain.attacks.minimum_norm.jsma import JSMA as JSMA
    from quintain.attacks.minimum_norm.sigma_zero import SigmaZero as SigmaZero
    from quintain.attacks.minimum_norm.superdeepfool import SuperDeepFool as SuperDeepFool

EXPORTS = {
    "CarliniWagner": "quintain.attacks.minimum_norm.carlini_wagner",
    "DDN": "quintain.attacks.minimum_norm.ddn",
    "DeepFool": "quintain.attacks.minimum_norm.deepfool",
    "EAD": "quintain.attacks.minimum_norm.ead",
    "FAB": "quintain.attacks.minimum_norm.fab",
    "FMN": "quintain.attacks.minimum_norm.fmn",
    "JSMA": "quintain.attacks.minimum_norm.jsma",
    "SigmaZero": "quintain.attacks.minimum_norm.sigma_zero",
    "SuperDeepFool": "quintain.attacks.minimum_norm.superdeepfool",
}

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
