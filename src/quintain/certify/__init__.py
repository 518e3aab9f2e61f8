"""Certificates: proofs that no change inside a threat changes a model's prediction."""

from typing import TYPE_CHECKING

from quintain.certify._index import EXPORTS
from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.certify._index import *
    from quintain.certify.ablation import AblatedClassifier as AblatedClassifier
    from quintain.certify.interval.certifier import worst_case_logits as worst_case_logits
    from quintain.certify.interval.domain import Interval as Interval
    from quintain.certify.interval.graph import TracedNetwork as TracedNetwork
    from quintain.certify.interval.layer_rules import register_layer_rule as register_layer_rule
    from quintain.certify.interval.recording import Lines as Lines
    from quintain.certify.interval.relaxations import Relaxation as Relaxation
    from quintain.certify.lipschitz.norms import conv_norm_bound as conv_norm_bound
    from quintain.certify.lipschitz.norms import spectral_norm_bound as spectral_norm_bound
    from quintain.certify.outcome import CertificateOutcome as CertificateOutcome
    from quintain.certify.outcome import Certifier as Certifier
    from quintain.certify.radius_search import largest_certified_radius as largest_certified_radius
    from quintain.certify.rounding import RoundingModel as RoundingModel
    from quintain.certify.smoothing import SmoothedClassifier as SmoothedClassifier

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
