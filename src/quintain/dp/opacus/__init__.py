"""The module paths of Opacus 1.6, for scripts: ``from quintain.dp.opacus.utils.batch_memory_manager import BatchMemoryManager``.

Each name is one of ``quintain.dp``'s own, imported when first used; there is no code here.
"""

import sys
from collections.abc import Mapping
from types import ModuleType

from quintain.core.lazy import lazy_exports

_ACCOUNTANTS = ("RDPAccountant", "GaussianAccountant", "PRVAccountant", "create_accountant", "register_accountant", "IAccountant")
_MODULE_TOOLS = (
    "are_state_dict_equal",
    "clone_module",
    "get_submodule",
    "has_trainable_params",
    "parametrized_modules",
    "requires_grad",
    "trainable_modules",
    "trainable_parameters",
)
_ERRORS = (
    "IllegalModuleConfigurationError",
    "NotYetSupportedModuleError",
    "ShouldReplaceModuleError",
    "UnsupportableModuleError",
    "UnsupportedError",
    "UnsupportedModuleError",
)
_NOISE, _CLIP = ("ExponentialNoise", "LambdaNoise", "StepNoise"), ("ExponentialGradClip", "LambdaGradClip", "StepGradClip")
_SAMPLERS = ("UniformWithReplacementSampler", "DistributedUniformWithReplacementSampler")
_RECURRENT = ("DPGRU", "DPLSTM", "DPRNN")

PATHS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "": {"engine": ("PrivacyEngine",), "wrapper": ("GradSampleModule",)},
    "accountants": {"accounting.accountants": _ACCOUNTANTS},
    "accountants.utils": {"accounting.accountants": ("get_noise_multiplier",)},
    "data_loader": {"draws.loaders": ("DPDataLoader",)},
    "distributed": {"draws.distributed": ("DifferentiallyPrivateDistributedDataParallel",)},
    "grad_sample": {"wrapper": ("GradSampleModule", "register_grad_sampler")},
    "grad_sample.grad_sample_module": {"wrapper": ("GradSampleModule",)},
    "grad_sample.utils": {"wrapper": ("register_grad_sampler",)},
    "layers": {"layers": (*_RECURRENT, "DPMultiheadAttention")},
    "layers.dp_multihead_attention": {"layers": ("DPMultiheadAttention",)},
    "layers.dp_rnn": {"layers": _RECURRENT},
    "optimizers": {"step.optimizer": ("DPOptimizer",)},
    "optimizers.optimizer": {"step.optimizer": ("DPOptimizer",)},
    "privacy_engine": {"engine": ("PrivacyEngine",)},
    "schedulers": {"training.schedulers": (*_NOISE, *_CLIP)},
    "schedulers.grad_clip_scheduler": {"training.schedulers": _CLIP},
    "schedulers.noise_scheduler": {"training.schedulers": _NOISE},
    "utils": {},
    "utils.batch_memory_manager": {"draws.memory": ("BatchMemoryManager",)},
    "utils.fast_gradient_clipping_utils": {"criterion": ("DPLossFastGradientClipping",)},
    "utils.module_utils": {"tools": _MODULE_TOOLS},
    "utils.packed_sequences": {"tools": ("compute_seq_lengths",)},
    "utils.tensor_utils": {"tools": ("calc_sample_norms", "calc_sample_norms_one_layer", "sum_over_all_but_batch_and_last_n")},
    "utils.uniform_sampler": {"draws.loaders": _SAMPLERS},
    "validators": {"validator": ("ModuleValidator",)},
    "validators.errors": {"validator": _ERRORS},
    "validators.module_validator": {"validator": ("ModuleValidator",)},
}
"""Path there, to the modules of ``quintain.dp`` that define its names, to these."""


def _lay_out() -> None:
    """Put a module for each path in its place."""
    for path, homes in PATHS.items():
        name = f"{__name__}.{path}" if path else __name__
        module = sys.modules[name] if not path else sys.modules.setdefault(name, ModuleType(name, f"Names of ``opacus.{path}``."))
        module.__path__ = getattr(module, "__path__", [])
        known = {public: f"quintain.dp.{home}" for home, names in homes.items() for public in names}
        module.__getattr__, module.__dir__ = lazy_exports(name, known)  # type: ignore[method-assign]
        if path:
            parent, _, child = name.rpartition(".")
            setattr(sys.modules[parent], child, module)


_lay_out()
