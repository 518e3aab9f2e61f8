"""Private training: clipping, noise, sampling, accounting, and tests of what they claim.

Plan, engine and ledger.
"""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports
from quintain.dp._index import EXPORTS

if TYPE_CHECKING:
    from quintain.dp._index import *
    from quintain.dp.accounting import calibrate_noise_multiplier as calibrate_noise_multiplier
    from quintain.dp.accounting import delta_curve as delta_curve
    from quintain.dp.accounting import epsilon as epsilon
    from quintain.dp.accounting.budget import PrivacyBudget as PrivacyBudget
    from quintain.dp.accounting.guarantee import Guarantee as Guarantee
    from quintain.dp.accounting.ledger import Ledger as Ledger
    from quintain.dp.accounting.release import Release as Release
    from quintain.dp.distributed import (
        DifferentiallyPrivateDistributedDataParallel as DifferentiallyPrivateDistributedDataParallel,
    )
    from quintain.dp.mechanism_tests import MechanismTests as MechanismTests
    from quintain.dp.mechanism_tests import verify_mechanism as verify_mechanism
    from quintain.dp.opacus.data_loader import DPDataLoader as DPDataLoader
    from quintain.dp.opacus.grad_sample.grad_sample_module import GradSampleModule as GradSampleModule
    from quintain.dp.opacus.optimizers.optimizer import DPOptimizer as DPOptimizer
    from quintain.dp.opacus.privacy_engine import PrivacyEngine as PrivacyEngine
    from quintain.dp.opacus.utils.batch_memory_manager import BatchMemoryManager as BatchMemoryManager
    from quintain.dp.opacus.utils.uniform_sampler import (
        DistributedUniformWithReplacementSampler as DistributedUniformWithReplacementSampler,
    )
    from quintain.dp.opacus.utils.uniform_sampler import (
        UniformWithReplacementSampler as UniformWithReplacementSampler,
    )
    from quintain.dp.opacus.validators.module_validator import ModuleValidator as ModuleValidator
    from quintain.dp.private import PrivacySettings as PrivacySettings
    from quintain.dp.private import Private as Private
    from quintain.dp.private import make_private as make_private
    from quintain.dp.randomness.random_source import RandomSource as RandomSource
    from quintain.dp.rules import register_rule as register_rule
    from quintain.dp.sampling.augmentation import augment as augment
    from quintain.dp.sampling.epoch_loaders import BallsInBinsLoader as BallsInBinsLoader
    from quintain.dp.sampling.epoch_loaders import ShuffledLoader as ShuffledLoader
    from quintain.dp.sampling.out_of_memory import retry_on_out_of_memory as retry_on_out_of_memory
    from quintain.dp.sampling.poisson_loader import PoissonLoader as PoissonLoader
    from quintain.dp.sampling.privacy_units import PrivacyUnits as PrivacyUnits
    from quintain.dp.step.adaptive import AdaptiveClipping as AdaptiveClipping
    from quintain.dp.step.clipping import AutomaticClipping as AutomaticClipping
    from quintain.dp.step.clipping import FlatClipping as FlatClipping
    from quintain.dp.step.clipping import PerLayerClipping as PerLayerClipping
    from quintain.dp.step.optimizer import PrivateOptimizer as PrivateOptimizer
    from quintain.dp.training.adam import DPAdam as DPAdam
    from quintain.dp.training.features import Features as Features
    from quintain.dp.training.features import extract_features as extract_features
    from quintain.dp.training.fitting import PrivateTrainingResult as PrivateTrainingResult
    from quintain.dp.training.plan import PrivatePlan as PrivatePlan
    from quintain.dp.training.scattering import Scattering as Scattering
    from quintain.training.ema import EMA as EMA

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
