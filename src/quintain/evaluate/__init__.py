"""Attacks and certificates as bounds on robust accuracy, audit and accountant as bounds on epsilon.

The only package that imports both sides. ``evasion`` runs attacks on a data set, ``steps`` holds one file for
each verb of the command line, and the modules beside them are what these share.
"""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports
from quintain.evaluate._index import EXPORTS

if TYPE_CHECKING:
    from quintain.evaluate.both_sides import Robustness as Robustness
    from quintain.evaluate.both_sides import robustness as robustness
    from quintain.evaluate.brackets import robust_accuracy as robust_accuracy
    from quintain.evaluate.evasion.attacks import run_attacks as run_attacks
    from quintain.evaluate.evasion.defaults import attack as attack
    from quintain.evaluate.step import StepOutput as StepOutput
    from quintain.evaluate.steps.audit_mechanism import ClaimedMechanism as ClaimedMechanism
    from quintain.evaluate.steps.audit_mechanism import audit_mechanism as audit_mechanism
    from quintain.evaluate.steps.audit_training import AuditedClaim as AuditedClaim
    from quintain.evaluate.steps.audit_training import audit_training as audit_training

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
