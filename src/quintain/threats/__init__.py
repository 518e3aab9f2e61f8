"""What the adversary may change: frozen values, each with its own geometry, written and read as exact tokens."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.threats.ball import Ball as Ball
    from quintain.threats.ball import Threat as Threat
    from quintain.threats.ball import contains as contains
    from quintain.threats.ball import require_inside as require_inside
    from quintain.threats.draw import Draw as Draw
    from quintain.threats.family import Family as Family
    from quintain.threats.l2 import L2 as L2
    from quintain.threats.linf import Linf as Linf
    from quintain.threats.tokens import parse as parse

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Ball": "quintain.threats.ball",
        "Draw": "quintain.threats.draw",
        "Family": "quintain.threats.family",
        "L2": "quintain.threats.l2",
        "Linf": "quintain.threats.linf",
        "Threat": "quintain.threats.ball",
        "contains": "quintain.threats.ball",
        "parse": "quintain.threats.tokens",
        "require_inside": "quintain.threats.ball",
    },
)
