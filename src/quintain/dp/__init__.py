"""Private training: clip, noise, sampling, accounting, plan, engine, ledger, and the tests of what they claim."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.dp.accounting import delta_curve as delta_curve
    from quintain.dp.accounting import epsilon as epsilon
    from quintain.dp.accounting import noise_for as noise_for
    from quintain.dp.accounting.guarantee import Guarantee as Guarantee
    from quintain.dp.adam import DPAdam as DPAdam
    from quintain.dp.adaptive import Adaptive as Adaptive
    from quintain.dp.distributed import DifferentiallyPrivateDistributedDataParallel as DifferentiallyPrivateDistributedDataParallel
    from quintain.dp.ema import EMA as EMA
    from quintain.dp.engine import PrivacyEngine as PrivacyEngine
    from quintain.dp.features import Features as Features
    from quintain.dp.features import frozen_features as frozen_features
    from quintain.dp.fitting import PrivateFit as PrivateFit
    from quintain.dp.fitting import fit as fit
    from quintain.dp.ledger import Ledger as Ledger
    from quintain.dp.ledger import Release as Release
    from quintain.dp.loaders import DistributedUniformWithReplacementSampler as DistributedUniformWithReplacementSampler
    from quintain.dp.loaders import DPDataLoader as DPDataLoader
    from quintain.dp.loaders import UniformWithReplacementSampler as UniformWithReplacementSampler
    from quintain.dp.memory import BatchMemoryManager as BatchMemoryManager
    from quintain.dp.memory import halving as halving
    from quintain.dp.optimizer import DPOptimizer as DPOptimizer
    from quintain.dp.optimizer import PrivateOptimizer as PrivateOptimizer
    from quintain.dp.plan import PrivatePlan as PrivatePlan
    from quintain.dp.rules import register_rule as register_rule
    from quintain.dp.sampling import PoissonLoader as PoissonLoader
    from quintain.dp.scattering import Scattering as Scattering
    from quintain.dp.shuffling import BallsInBinsLoader as BallsInBinsLoader
    from quintain.dp.shuffling import ShuffledLoader as ShuffledLoader
    from quintain.dp.specification import Measured as Measured
    from quintain.dp.specification import measure as measure
    from quintain.dp.units import Units as Units
    from quintain.dp.units import augmented as augmented
    from quintain.dp.validator import ModuleValidator as ModuleValidator
    from quintain.dp.wrapper import GradSampleModule as GradSampleModule

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Adaptive": "quintain.dp.adaptive",
        "BallsInBinsLoader": "quintain.dp.shuffling",
        "BatchMemoryManager": "quintain.dp.memory",
        "DPAdam": "quintain.dp.adam",
        "DPDataLoader": "quintain.dp.loaders",
        "DPOptimizer": "quintain.dp.optimizer",
        "DifferentiallyPrivateDistributedDataParallel": "quintain.dp.distributed",
        "DistributedUniformWithReplacementSampler": "quintain.dp.loaders",
        "EMA": "quintain.dp.ema",
        "Features": "quintain.dp.features",
        "GradSampleModule": "quintain.dp.wrapper",
        "Guarantee": "quintain.dp.accounting.guarantee",
        "Ledger": "quintain.dp.ledger",
        "Measured": "quintain.dp.specification",
        "ModuleValidator": "quintain.dp.validator",
        "PoissonLoader": "quintain.dp.sampling",
        "PrivacyEngine": "quintain.dp.engine",
        "PrivateFit": "quintain.dp.fitting",
        "PrivateOptimizer": "quintain.dp.optimizer",
        "PrivatePlan": "quintain.dp.plan",
        "Release": "quintain.dp.ledger",
        "Scattering": "quintain.dp.scattering",
        "ShuffledLoader": "quintain.dp.shuffling",
        "UniformWithReplacementSampler": "quintain.dp.loaders",
        "Units": "quintain.dp.units",
        "augmented": "quintain.dp.units",
        "delta_curve": "quintain.dp.accounting",
        "epsilon": "quintain.dp.accounting",
        "fit": "quintain.dp.fitting",
        "frozen_features": "quintain.dp.features",
        "halving": "quintain.dp.memory",
        "measure": "quintain.dp.specification",
        "noise_for": "quintain.dp.accounting",
        "register_rule": "quintain.dp.rules",
    },
)
