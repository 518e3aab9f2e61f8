"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

from typing import TYPE_CHECKING

from quintain.core.registry import Entry

if TYPE_CHECKING:
    from quintain.dp.training.fitting import fit as fit

EXPORTS: dict[str, str] = {
    "AdaptiveClipping": "quintain.dp.step.adaptive",
    "AutomaticClipping": "quintain.dp.step.clipping",
    "BallsInBinsLoader": "quintain.dp.sampling.epoch_loaders",
    "BatchMemoryManager": "quintain.dp.opacus.utils.batch_memory_manager",
    "DPAdam": "quintain.dp.training.adam",
    "DPDataLoader": "quintain.dp.opacus.data_loader",
    "DPOptimizer": "quintain.dp.opacus.optimizers.optimizer",
    "DifferentiallyPrivateDistributedDataParallel": "quintain.dp.distributed",
    "DistributedUniformWithReplacementSampler": "quintain.dp.opacus.utils.uniform_sampler",
    "EMA": "quintain.training.ema",
    "Features": "quintain.dp.training.features",
    "FlatClipping": "quintain.dp.step.clipping",
    "GradSampleModule": "quintain.dp.opacus.grad_sample.grad_sample_module",
    "Guarantee": "quintain.dp.accounting.guarantee",
    "Ledger": "quintain.dp.accounting.ledger",
    "MechanismTests": "quintain.dp.mechanism_tests",
    "ModuleValidator": "quintain.dp.opacus.validators.module_validator",
    "PerLayerClipping": "quintain.dp.step.clipping",
    "PoissonLoader": "quintain.dp.sampling.poisson_loader",
    "PrivacyBudget": "quintain.dp.accounting.budget",
    "PrivacyEngine": "quintain.dp.opacus.privacy_engine",
    "PrivacySettings": "quintain.dp.private",
    "PrivacyUnits": "quintain.dp.sampling.privacy_units",
    "Private": "quintain.dp.private",
    "PrivateOptimizer": "quintain.dp.step.optimizer",
    "PrivatePlan": "quintain.dp.training.plan",
    "PrivateTrainingResult": "quintain.dp.training.fitting",
    "RandomSource": "quintain.dp.randomness.random_source",
    "Release": "quintain.dp.accounting.release",
    "Scattering": "quintain.dp.training.scattering",
    "ShuffledLoader": "quintain.dp.sampling.epoch_loaders",
    "UniformWithReplacementSampler": "quintain.dp.opacus.utils.uniform_sampler",
    "augment": "quintain.dp.sampling.augmentation",
    "calibrate_noise_multiplier": "quintain.dp.accounting",
    "delta_curve": "quintain.dp.accounting",
    "epsilon": "quintain.dp.accounting",
    "extract_features": "quintain.dp.training.features",
    "fit": "quintain.dp.training.fitting",
    "make_private": "quintain.dp.private",
    "register_rule": "quintain.dp.rules",
    "retry_on_out_of_memory": "quintain.dp.sampling.out_of_memory",
    "verify_mechanism": "quintain.dp.mechanism_tests",
}

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "mechanism",
        "dp-sgd",
        "quintain.dp.training.fitting:fit",
        "per-example clipping, Gaussian noise and Poisson sampling (Abadi et al. 2016)",
        guarantee=(
            "(epsilon, delta) for adding or removing one record, by privacy loss distributions, if all "
            "that is released is the iterates; noise from a stream that is secret, up to floating-point "
            "rounding"
        ),
    ),
)
