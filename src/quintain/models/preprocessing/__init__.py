"""The classic preprocessing defenses, which change the image before the net sees it.

They are shipped to show how they fail.

None of them resists an adversary who knows of it. Attack them through ``attacks.BPDA`` where they have no
useful gradient, and through ``attacks.EOT`` where they are random (Athalye et al., 2018, arXiv:1802.00420).
"""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports
from quintain.models.preprocessing._index import EXPORTS

if TYPE_CHECKING:
    from quintain.models.preprocessing.filters import GaussianFilter as GaussianFilter
    from quintain.models.preprocessing.filters import MeanFilter as MeanFilter
    from quintain.models.preprocessing.filters import MedianFilter as MedianFilter
    from quintain.models.preprocessing.jpeg import JPEG as JPEG
    from quintain.models.preprocessing.resizing import RandomResize as RandomResize
    from quintain.models.preprocessing.squeezing import BitSqueeze as BitSqueeze

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
