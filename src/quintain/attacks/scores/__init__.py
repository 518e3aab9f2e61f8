"""Attacks that ask a model for scores alone."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.attacks.scores.nes import NES as NES
    from quintain.attacks.scores.one_pixel import OnePixel as OnePixel
    from quintain.attacks.scores.simba import SimBA as SimBA
    from quintain.attacks.scores.sparse_rs import SparseRS as SparseRS
    from quintain.attacks.scores.spsa import SPSA as SPSA
    from quintain.attacks.scores.square import Square as Square

HOMES: dict[str, str] = {
    "NES": "quintain.attacks.scores.nes",
    "OnePixel": "quintain.attacks.scores.one_pixel",
    "SPSA": "quintain.attacks.scores.spsa",
    "SimBA": "quintain.attacks.scores.simba",
    "SparseRS": "quintain.attacks.scores.sparse_rs",
    "Square": "quintain.attacks.scores.square",
}

__getattr__, __dir__ = lazy_exports(__name__, HOMES)
