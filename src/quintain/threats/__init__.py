"""What the adversary may change: frozen values, each with its own geometry, written and read as exact tokens."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.threats.ball import Ball as Ball
    from quintain.threats.ball import Threat as Threat
    from quintain.threats.ball import contains as contains
    from quintain.threats.ball import require_inside as require_inside
    from quintain.threats.colour import Colour as Colour
    from quintain.threats.compose import Compose as Compose
    from quintain.threats.draw import Draw as Draw
    from quintain.threats.family import Family as Family
    from quintain.threats.l0 import L0 as L0
    from quintain.threats.l1 import L1 as L1
    from quintain.threats.l2 import L2 as L2
    from quintain.threats.linf import Linf as Linf
    from quintain.threats.mask import Mask as Mask
    from quintain.threats.negative import Negative as Negative
    from quintain.threats.patch import Patch as Patch
    from quintain.threats.projection import Projection as Projection
    from quintain.threats.spatial import Spatial as Spatial
    from quintain.threats.tokens import parse as parse

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Ball": "quintain.threats.ball",
        "Colour": "quintain.threats.colour",
        "Compose": "quintain.threats.compose",
        "Draw": "quintain.threats.draw",
        "Family": "quintain.threats.family",
        "L0": "quintain.threats.l0",
        "L1": "quintain.threats.l1",
        "L2": "quintain.threats.l2",
        "Linf": "quintain.threats.linf",
        "Mask": "quintain.threats.mask",
        "Negative": "quintain.threats.negative",
        "Patch": "quintain.threats.patch",
        "Projection": "quintain.threats.projection",
        "Spatial": "quintain.threats.spatial",
        "Threat": "quintain.threats.ball",
        "contains": "quintain.threats.ball",
        "parse": "quintain.threats.tokens",
        "require_inside": "quintain.threats.ball",
    },
)
