"""Score-based attacks: they use logits alone, no gradients."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.attacks.score_based.nes import NES as NES
    from quintain.attacks.score_based.one_pixel import OnePixel as OnePixel
    from quintain.attacks.score_based.simba import SimBA as SimBA
    from quintain.attacks.score_based.sparse_rs import SparseRS as SparseRS
    from quintain.attacks.score_based.spsa import SPSA as SPSA
    from quintain.attacks.score_based.square import Square as Square

EXPORTS: dict[str, str] = {
    "NES": "quintain.attacks.score_based.nes",
    "OnePixel": "quintain.attacks.score_based.one_pixel",
    "SPSA": "quintain.attacks.score_based.spsa",
    "SimBA": "quintain.attacks.score_based.simba",
    "SparseRS": "quintain.attacks.score_based.sparse_rs",
    "Square": "quintain.attacks.score_based.square",
}

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
