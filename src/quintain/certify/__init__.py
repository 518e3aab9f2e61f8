"""Proofs: what no change inside a threat can do to a model's answer."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.certify.interval import IntervalBounds as IntervalBounds
    from quintain.certify.interval import worst_logits as worst_logits
    from quintain.certify.network import Network as Network
    from quintain.certify.outcome import CertificateOutcome as CertificateOutcome
    from quintain.certify.outcome import Certifier as Certifier
    from quintain.certify.radius import largest_radius as largest_radius
    from quintain.certify.smoothed import Smoothed as Smoothed

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "CertificateOutcome": "quintain.certify.outcome",
        "Certifier": "quintain.certify.outcome",
        "IntervalBounds": "quintain.certify.interval",
        "Network": "quintain.certify.network",
        "Smoothed": "quintain.certify.smoothed",
        "largest_radius": "quintain.certify.radius",
        "worst_logits": "quintain.certify.interval",
    },
)
