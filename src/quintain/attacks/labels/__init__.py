"""Attacks that ask a model for labels alone."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.attacks.labels.cgba import CGBA as CGBA
    from quintain.attacks.labels.hopskipjump import HopSkipJump as HopSkipJump
    from quintain.attacks.labels.rays import RayS as RayS

HOMES: dict[str, str] = {
    "CGBA": "quintain.attacks.labels.cgba",
    "HopSkipJump": "quintain.attacks.labels.hopskipjump",
    "RayS": "quintain.attacks.labels.rays",
}

__getattr__, __dir__ = lazy_exports(__name__, HOMES)
