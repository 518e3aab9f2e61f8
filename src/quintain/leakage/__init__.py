"""Privacy attacks, and audits of private training; it imports nothing of ``quintain.dp``, which it judges."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports
from quintain.leakage._index import EXPORTS

if TYPE_CHECKING:
    from quintain.leakage._index import *
    from quintain.leakage.attack import Candidates as Candidates
    from quintain.leakage.attack import Guess as Guess
    from quintain.leakage.attack import LeakageAttack as LeakageAttack
    from quintain.leakage.attack import LeakJudgment as LeakJudgment
    from quintain.leakage.audit.auditor import Auditor as Auditor
    from quintain.leakage.audit.experiment import Experiment as Experiment
    from quintain.leakage.audit.gaussian_audit import GaussianAudit as GaussianAudit
    from quintain.leakage.audit.one_run import OneRunAudit as OneRunAudit
    from quintain.leakage.audit.one_run import max_auditable_epsilon as max_auditable_epsilon
    from quintain.leakage.audit.profiles import ProfileFamily as ProfileFamily
    from quintain.leakage.audit.repeats import joint_bound as joint_bound
    from quintain.leakage.audit.repeats import repetitions as repetitions
    from quintain.leakage.audit.result import EpsilonAudit as EpsilonAudit
    from quintain.leakage.audit.score_files import read_scores as read_scores
    from quintain.leakage.black_box import BlackBoxTraining as BlackBoxTraining
    from quintain.leakage.canaries import CanaryNet as CanaryNet
    from quintain.leakage.canaries import CanaryRun as CanaryRun
    from quintain.leakage.canaries import train_with_canaries as train_with_canaries
    from quintain.leakage.canary_rows import insert_canaries as insert_canaries
    from quintain.leakage.coordinates import coordinate_measurements as coordinate_measurements
    from quintain.leakage.hidden_attribute import HiddenAttribute as HiddenAttribute
    from quintain.leakage.hidden_attribute import block_attribute as block_attribute
    from quintain.leakage.hidden_attribute import feature_attribute as feature_attribute
    from quintain.leakage.hidden_attribute import patch_attribute as patch_attribute
    from quintain.leakage.judges.membership import judge_membership as judge_membership
    from quintain.leakage.judges.trade_off import EpsilonDelta as EpsilonDelta
    from quintain.leakage.knowledge import Knowledge as Knowledge
    from quintain.leakage.local_steps import LocalSteps as LocalSteps
    from quintain.leakage.protocols import ReconstructionAttack as ReconstructionAttack
    from quintain.leakage.shadow_models import InPlaceTrainer as InPlaceTrainer
    from quintain.leakage.shadow_models import ShadowModels as ShadowModels
    from quintain.leakage.shadow_models import train_shadows as train_shadows
    from quintain.leakage.update_view import UpdateView as UpdateView
    from quintain.leakage.updates.gradient_inversion import InversionResult as InversionResult
    from quintain.leakage.updates.gradient_inversion import invert_gradient as invert_gradient
    from quintain.leakage.updates.imprint import plant_imprint as plant_imprint
    from quintain.leakage.updates.imprint import read_imprint as read_imprint
    from quintain.leakage.view import ModelView as ModelView

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
