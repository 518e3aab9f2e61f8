"""Changes that could be printed, projected or worn, fitted on some pictures and scored on others."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.attacks.physical.random_search import RandomSearch as RandomSearch
    from quintain.attacks.physical.spatial_search import SpatialSearch as SpatialSearch

HOMES = {
    "RandomSearch": "quintain.attacks.physical.random_search",
    "SpatialSearch": "quintain.attacks.physical.spatial_search",
}

__getattr__, __dir__ = lazy_exports(__name__, HOMES)
