"""Adaptive-attack wrappers: BPDA (approximate backward pass) and EOT (mean over random forward passes)."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.attacks.adaptive.bpda import BPDA as BPDA
    from quintain.attacks.adaptive.eot import EOT as EOT
    from quintain.attacks.adaptive.voting import MajorityVote as MajorityVote
    from quintain.attacks.adaptive.voting import majority_vote as majority_vote

EXPORTS = {
    "BPDA": "quintain.attacks.adaptive.bpda",
    "EOT": "quintain.attacks.adaptive.eot",
    "MajorityVote": "quintain.attacks.adaptive.voting",
    "majority_vote": "quintain.attacks.adaptive.voting",
}

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
