"""Universal perturbations: patches, stickers, glasses and light, fitted on some images and measured on
others.
"""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.attacks.score_based.random_search import RandomSearch as RandomSearch
    from quintain.attacks.score_based.spatial_search import SpatialSearch as SpatialSearch
    from quintain.attacks.universal.adversarial_patch import AdversarialPatch as AdversarialPatch
    from quintain.attacks.universal.adversarial_patch import side_marker as side_marker
    from quintain.attacks.universal.export import export_patch as export_patch
    from quintain.attacks.universal.eyeglasses import Eyeglasses as Eyeglasses
    from quintain.attacks.universal.fitted_patch import FittedPatch as FittedPatch
    from quintain.attacks.universal.phantom import FittedLight as FittedLight
    from quintain.attacks.universal.phantom import Phantom as Phantom
    from quintain.attacks.universal.printing import Printing as Printing
    from quintain.attacks.universal.printing import non_printability as non_printability
    from quintain.attacks.universal.sign_stickers import SignStickers as SignStickers
    from quintain.attacks.universal.view import View as View

EXPORTS = {
    "RandomSearch": "quintain.attacks.score_based.random_search",
    "SpatialSearch": "quintain.attacks.score_based.spatial_search",
    "FittedPatch": "quintain.attacks.universal.fitted_patch",
    "Eyeglasses": "quintain.attacks.universal.eyeglasses",
    "FittedLight": "quintain.attacks.universal.phantom",
    "Phantom": "quintain.attacks.universal.phantom",
    "Printing": "quintain.attacks.universal.printing",
    "SignStickers": "quintain.attacks.universal.sign_stickers",
    "AdversarialPatch": "quintain.attacks.universal.adversarial_patch",
    "View": "quintain.attacks.universal.view",
    "export_patch": "quintain.attacks.universal.export",
    "non_printability": "quintain.attacks.universal.printing",
    "side_marker": "quintain.attacks.universal.adversarial_patch",
}

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
