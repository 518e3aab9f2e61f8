"""The classic input defences, shipped so that anybody can see them fall: each changes the picture before the net sees it.

None of them is a defence against an adversary who knows of it. Attack them through ``attacks.BPDA`` where they have no useful gradient,
and through ``attacks.EOT`` where they draw at random (Athalye et al., 2018, arXiv:1802.00420).
"""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.models.defences.filters import GaussianFilter as GaussianFilter
    from quintain.models.defences.filters import MeanFilter as MeanFilter
    from quintain.models.defences.filters import MedianFilter as MedianFilter
    from quintain.models.defences.jpeg import JPEG as JPEG
    from quintain.models.defences.resizing import RandomResize as RandomResize
    from quintain.models.defences.squeezing import BitSqueeze as BitSqueeze

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "BitSqueeze": "quintain.models.defences.squeezing",
        "GaussianFilter": "quintain.models.defences.filters",
        "JPEG": "quintain.models.defences.jpeg",
        "MeanFilter": "quintain.models.defences.filters",
        "MedianFilter": "quintain.models.defences.filters",
        "RandomResize": "quintain.models.defences.resizing",
    },
)
