"""The module paths of Opacus 1.6, for scripts: ``from quintain.dp.opacus.utils.batch_memory_manager import
BatchMemoryManager``.

Each name is one of ``quintain.dp``'s own, imported when first used, or one of ``shims``; what is not here
says why (``refused``).
"""

import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from quintain.core.lazy import lazy_exports
from quintain.dp.opacus.refused import REFUSED

_ACCOUNTANTS = (
    "RDPAccountant",
    "GaussianAccountant",
    "PRVAccountant",
    "create_accountant",
    "register_accountant",
    "IAccountant",
)
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
_PER_LAYER = ("SimpleDistributedPerLayerOptimizer", "DistributedPerLayerOptimizer")
_GHOST = "GradSampleModuleFastGradientClipping"
_WRAPPING = ("get_gsm_class", "wrap_model")
_REGISTERS = ("register_module_fixer", "register_module_validator")
_NOISE, _CLIP = (
    ("ExponentialNoise", "LambdaNoise", "StepNoise"),
    ("ExponentialGradClip", "LambdaGradClip", "StepGradClip"),
)
_SAMPLERS = ("UniformWithReplacementSampler", "DistributedUniformWithReplacementSampler")
_RECURRENT = ("DPGRU", "DPLSTM", "DPRNN")

PATHS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "": {"engine": ("PrivacyEngine",), "wrapper": ("GradSampleModule",), "opacus.shims": (_GHOST,)},
    "accountants": {"accounting.accountants": _ACCOUNTANTS},
    "accountants.accountant": {"accounting.accountants": ("IAccountant",)},
    "accountants.analysis": {},
    "accountants.analysis.gdp": {},
    "accountants.analysis.prv": {},
    "accountants.analysis.prv.compose": {},
    "accountants.analysis.prv.domain": {},
    "accountants.analysis.prv.prvs": {},
    "accountants.analysis.rdp": {},
    "accountants.gdp": {"accounting.accountants": ("GaussianAccountant",)},
    "accountants.prv": {"accounting.accountants": ("PRVAccountant",)},
    "accountants.rdp": {"accounting.accountants": ("RDPAccountant",)},
    "accountants.registry": {"accounting.accountants": ("create_accountant", "register_accountant")},
    "accountants.utils": {"accounting.accountants": ("get_noise_multiplier",)},
    "data_loader": {"sampling.data_loader": ("DPDataLoader",), "opacus.shims": ("switch_generator",)},
    "distributed": {"distributed": ("DifferentiallyPrivateDistributedDataParallel",)},
    "grad_sample": {
        "wrapper": ("GradSampleModule", "register_grad_sampler"),
        "opacus.shims": (_GHOST, "GradSampleModuleExpandedWeights", *_WRAPPING),
    },
    "grad_sample.conv": {},
    "grad_sample.dp_multihead_attention": {},
    "grad_sample.dp_rnn": {},
    "grad_sample.embedding": {},
    "grad_sample.embedding_norm_sample": {},
    "grad_sample.functorch": {},
    "grad_sample.grad_sample_module": {"wrapper": ("GradSampleModule",)},
    "grad_sample.grad_sample_module_fast_gradient_clipping": {"opacus.shims": (_GHOST,)},
    "grad_sample.grad_sample_module_fast_gradient_clipping_fsdp": {},
    "grad_sample.grad_sample_module_fast_gradient_clipping_tp": {},
    "grad_sample.group_norm": {},
    "grad_sample.gsm_base": {},
    "grad_sample.gsm_exp_weights": {"opacus.shims": ("GradSampleModuleExpandedWeights",)},
    "grad_sample.gsm_no_op": {},
    "grad_sample.instance_norm": {},
    "grad_sample.layer_norm": {},
    "grad_sample.linear": {},
    "grad_sample.rms_norm": {},
    "grad_sample.utils": {"wrapper": ("register_grad_sampler",), "opacus.shims": _WRAPPING},
    "layers": {"layers": (*_RECURRENT, "DPMultiheadAttention", "SequenceBias")},
    "layers.dp_multihead_attention": {"layers": ("DPMultiheadAttention", "SequenceBias")},
    "layers.dp_rnn": {"layers": _RECURRENT},
    "layers.param_rename": {},
    "lightning": {},
    "optimizers": {
        "step.optimizer": ("DPOptimizer",),
        "opacus.shims": (
            "AdaClipDPOptimizer",
            "DPOptimizerFastGradientClipping",
            "DPPerLayerOptimizer",
            "DistributedDPOptimizer",
            "DistributedDPOptimizerFastGradientClipping",
            "SimpleDistributedPerLayerOptimizer",
            "get_optimizer_class",
        ),
    },
    "optimizers.adaclipoptimizer": {"opacus.shims": ("AdaClipDPOptimizer",)},
    "optimizers.ddp_perlayeroptimizer": {"opacus.shims": _PER_LAYER},
    "optimizers.ddpoptimizer": {"opacus.shims": ("DistributedDPOptimizer",)},
    "optimizers.ddpoptimizer_fast_gradient_clipping": {
        "opacus.shims": ("DistributedDPOptimizerFastGradientClipping",)
    },
    "optimizers.fsdpoptimizer_fast_gradient_clipping": {},
    "optimizers.optimizer": {"step.optimizer": ("DPOptimizer",)},
    "optimizers.optimizer_fast_gradient_clipping": {"opacus.shims": ("DPOptimizerFastGradientClipping",)},
    "optimizers.perlayeroptimizer": {"opacus.shims": ("DPPerLayerOptimizer",)},
    "optimizers.utils": {"tools": ("params",)},
    "privacy_engine": {"engine": ("PrivacyEngine",)},
    "schedulers": {"training.schedulers": (*_NOISE, *_CLIP)},
    "schedulers.grad_clip_scheduler": {"training.schedulers": _CLIP},
    "schedulers.noise_scheduler": {"training.schedulers": _NOISE},
    "utils": {},
    "utils.adaptive_clipping": {},
    "utils.adaptive_clipping.adaptive_clipping_utils": {},
    "utils.batch_memory_manager": {"sampling.out_of_memory": ("BatchMemoryManager",)},
    "utils.fast_gradient_clipping_utils": {"criterion": ("DPLossFastGradientClipping",)},
    "utils.fsdp_utils": {},
    "utils.module_utils": {"tools": _MODULE_TOOLS},
    "utils.packed_sequences": {"tools": ("compute_seq_lengths",)},
    "utils.per_sample_gradients_utils": {
        "opacus.shims": ("check_per_sample_gradients_are_correct",),
        "tools": ("clone_module",),
    },
    "utils.tensor_utils": {
        "tools": ("calc_sample_norms", "calc_sample_norms_one_layer", "sum_over_all_but_batch_and_last_n")
    },
    "utils.uniform_sampler": {"sampling.data_loader": _SAMPLERS},
    "validators": {"validator": ("ModuleValidator", *_REGISTERS)},
    "validators.batch_norm": {},
    "validators.errors": {"validator": _ERRORS},
    "validators.gru": {},
    "validators.instance_norm": {},
    "validators.lstm": {},
    "validators.module_validator": {"validator": ("ModuleValidator",)},
    "validators.multihead_attention": {},
    "validators.utils": {"validator": _REGISTERS},
}
"""Path there, to the modules of ``quintain.dp`` that define its names, to these."""


def _lay_out() -> None:
    """Put a module for each path in its place."""
    for path, homes in PATHS.items():
        name = f"{__name__}.{path}" if path else __name__
        module = (
            sys.modules[name]
            if not path
            else sys.modules.setdefault(name, ModuleType(name, f"Names of ``opacus.{path}``."))
        )
        module.__path__ = getattr(module, "__path__", [])
        known = {public: f"quintain.dp.{home}" for home, names in homes.items() for public in names}
        known_here, module.__dir__ = lazy_exports(name, known)  # type: ignore[method-assign]
        module.__getattr__ = _or_why(path, known_here)  # type: ignore[method-assign]
        if path:
            parent, _, child = name.rpartition(".")
            setattr(sys.modules[parent], child, module)


def _or_why(path: str, here: Callable[[str], Any]) -> Callable[[str], Any]:
    """A module's ``__getattr__``, which says why a name of Opacus is not here."""

    def __getattr__(name: str) -> Any:
        if (reason := REFUSED.get(path, {}).get(name)) is not None:
            raise ImportError(
                f"opacus.{path}.{name} is not in quintain.dp: {reason}", name=f"{__name__}.{path}"
            )
        return here(name)

    return __getattr__


_lay_out()
