"""Decision-based attacks: they use predicted labels alone."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.attacks.decision_based.cgba import CGBA as CGBA
    from quintain.attacks.decision_based.hopskipjump import HopSkipJump as HopSkipJump
    from quintain.attacks.decision_based.rays import RayS as RayS

EXPORTS: dict[str, str] = {
    "CGBA": "quintain.attacks.decision_based.cgba",
    "HopSkipJump": "quintain.attacks.decision_based.hopskipjump",
    "RayS": "quintain.attacks.decision_based.rays",
}

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
