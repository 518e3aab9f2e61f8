"""Quintain: attack, harden, certify, privatize and audit a model, with every claim held from both sides.

::

    import quintain as q

    model = q.Classifier(net)                    # takes inputs in [0, 1]
    data = q.load_data("xrays")
    outcome = q.attack(model, x, y, "linf:4/255")
    outcome = q.attacks.PGD(steps=40)(model, x, y, q.Linf(4 / 255), seed=0)
    proof = q.certify.IntervalBounds()(model, x, y, q.Linf(4 / 255))
"""

from typing import TYPE_CHECKING

from quintain._index import EXPORTS
from quintain.core.lazy import lazy_exports
from quintain.version import __version__ as __version__

if TYPE_CHECKING:
    from quintain import attacks as attacks
    from quintain import certify as certify
    from quintain import dp as dp
    from quintain import evaluate as evaluate
    from quintain import federated as federated
    from quintain import harden as harden
    from quintain import leakage as leakage
    from quintain import losses as losses
    from quintain import results as results
    from quintain import testing as testing
    from quintain import threats as threats
    from quintain import training as training
    from quintain import verify as verify
    from quintain.attacks.gradient.fgsm import fgsm_attack as fgsm_attack
    from quintain.core.errors import QuintainError as QuintainError
    from quintain.data.loading import load_data as load_data
    from quintain.evaluate.evasion.defaults import attack as attack
    from quintain.models.classifier import Classifier as Classifier
    from quintain.models.loading import load_model as load_model
    from quintain.threats.color import Color as Color
    from quintain.threats.compose import Compose as Compose
    from quintain.threats.l0 import L0 as L0
    from quintain.threats.l1 import L1 as L1
    from quintain.threats.l2 import L2 as L2
    from quintain.threats.light import ProjectedLight as ProjectedLight
    from quintain.threats.linf import Linf as Linf
    from quintain.threats.mask import Mask as Mask
    from quintain.threats.negative import Negative as Negative
    from quintain.threats.patch import Patch as Patch
    from quintain.threats.spatial import Spatial as Spatial

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
