"""Changes that could be printed, projected or worn, fitted on some pictures and scored on others."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.attacks.physical.decal import Decal as Decal
    from quintain.attacks.physical.export import export_sticker as export_sticker
    from quintain.attacks.physical.eyeglasses import Eyeglasses as Eyeglasses
    from quintain.attacks.physical.marker import side_marker as side_marker
    from quintain.attacks.physical.phantom import Light as Light
    from quintain.attacks.physical.phantom import Phantom as Phantom
    from quintain.attacks.physical.printing import Printing as Printing
    from quintain.attacks.physical.printing import non_printability as non_printability
    from quintain.attacks.physical.random_search import RandomSearch as RandomSearch
    from quintain.attacks.physical.sign_stickers import SignStickers as SignStickers
    from quintain.attacks.physical.spatial_search import SpatialSearch as SpatialSearch
    from quintain.attacks.physical.sticker import Sticker as Sticker
    from quintain.attacks.physical.transforms import View as View

HOMES = {
    "RandomSearch": "quintain.attacks.physical.random_search",
    "SpatialSearch": "quintain.attacks.physical.spatial_search",
    "Decal": "quintain.attacks.physical.decal",
    "Eyeglasses": "quintain.attacks.physical.eyeglasses",
    "Light": "quintain.attacks.physical.phantom",
    "Phantom": "quintain.attacks.physical.phantom",
    "Printing": "quintain.attacks.physical.printing",
    "SignStickers": "quintain.attacks.physical.sign_stickers",
    "Sticker": "quintain.attacks.physical.sticker",
    "View": "quintain.attacks.physical.transforms",
    "export_sticker": "quintain.attacks.physical.export",
    "non_printability": "quintain.attacks.physical.printing",
    "side_marker": "quintain.attacks.physical.marker",
}

__getattr__, __dir__ = lazy_exports(__name__, HOMES)
