"""Private training: clip, noise, sampling, accounting, plan, engine, ledger, and the tests of what they claim."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.dp.accounting import calibrate_noise_multiplier as calibrate_noise_multiplier
    from quintain.dp.accounting import delta_curve as delta_curve
    from quintain.dp.accounting import epsilon as epsilon
    from quintain.dp.accounting.guarantee import Guarantee as Guarantee
    from quintain.dp.accounting.ledger import Ledger as Ledger
    from quintain.dp.accounting.release import Release as Release
    from quintain.dp.draws.distributed import DifferentiallyPrivateDistributedDataParallel as DifferentiallyPrivateDistributedDataParallel
    from quintain.dp.draws.loaders import DistributedUniformWithReplacementSampler as DistributedUniformWithReplacementSampler
    from quintain.dp.draws.loaders import DPDataLoader as DPDataLoader
    from quintain.dp.draws.loaders import UniformWithReplacementSampler as UniformWithReplacementSampler
    from quintain.dp.draws.memory import BatchMemoryManager as BatchMemoryManager
    from quintain.dp.draws.memory import halving as halving
    from quintain.dp.draws.sampling import PoissonLoader as PoissonLoader
    from quintain.dp.draws.shuffling import BallsInBinsLoader as BallsInBinsLoader
    from quintain.dp.draws.shuffling import ShuffledLoader as ShuffledLoader
    from quintain.dp.draws.units import Units as Units
    from quintain.dp.draws.units import augmented as augmented
    from quintain.dp.engine import PrivacyEngine as PrivacyEngine
    from quintain.dp.rules import register_rule as register_rule
    from quintain.dp.specification import Measured as Measured
    from quintain.dp.specification import measure as measure
    from quintain.dp.step.adaptive import Adaptive as Adaptive
    from quintain.dp.step.optimizer import DPOptimizer as DPOptimizer
    from quintain.dp.step.optimizer import PrivateOptimizer as PrivateOptimizer
    from quintain.dp.training.adam import DPAdam as DPAdam
    from quintain.dp.training.ema import EMA as EMA
    from quintain.dp.training.features import Features as Features
    from quintain.dp.training.features import extract_features as extract_features
    from quintain.dp.training.fitting import PrivateTrainingResult as PrivateTrainingResult
    from quintain.dp.training.fitting import fit as fit
    from quintain.dp.training.plan import PrivatePlan as PrivatePlan
    from quintain.dp.training.scattering import Scattering as Scattering
    from quintain.dp.validator import ModuleValidator as ModuleValidator
    from quintain.dp.wrapper import GradSampleModule as GradSampleModule

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Adaptive": "quintain.dp.step.adaptive",
        "BallsInBinsLoader": "quintain.dp.draws.shuffling",
        "BatchMemoryManager": "quintain.dp.draws.memory",
        "DPAdam": "quintain.dp.training.adam",
        "DPDataLoader": "quintain.dp.draws.loaders",
        "DPOptimizer": "quintain.dp.step.optimizer",
        "DifferentiallyPrivateDistributedDataParallel": "quintain.dp.draws.distributed",
        "DistributedUniformWithReplacementSampler": "quintain.dp.draws.loaders",
        "EMA": "quintain.dp.training.ema",
        "Features": "quintain.dp.training.features",
        "GradSampleModule": "quintain.dp.wrapper",
        "Guarantee": "quintain.dp.accounting.guarantee",
        "Ledger": "quintain.dp.accounting.ledger",
        "Measured": "quintain.dp.specification",
        "ModuleValidator": "quintain.dp.validator",
        "PoissonLoader": "quintain.dp.draws.sampling",
        "PrivacyEngine": "quintain.dp.engine",
        "PrivateTrainingResult": "quintain.dp.training.fitting",
        "PrivateOptimizer": "quintain.dp.step.optimizer",
        "PrivatePlan": "quintain.dp.training.plan",
        "Release": "quintain.dp.accounting.release",
        "Scattering": "quintain.dp.training.scattering",
        "ShuffledLoader": "quintain.dp.draws.shuffling",
        "UniformWithReplacementSampler": "quintain.dp.draws.loaders",
        "Units": "quintain.dp.draws.units",
        "augmented": "quintain.dp.draws.units",
        "delta_curve": "quintain.dp.accounting",
        "epsilon": "quintain.dp.accounting",
        "fit": "quintain.dp.training.fitting",
        "extract_features": "quintain.dp.training.features",
        "halving": "quintain.dp.draws.memory",
        "measure": "quintain.dp.specification",
        "calibrate_noise_multiplier": "quintain.dp.accounting",
        "register_rule": "quintain.dp.rules",
    },
)
