"""Names of Opacus 1.6 that are not here, each with what to use instead."""

from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE = __name__.rpartition(".")[0]

# why a group of names is missing, and what to use instead
_RULES = (
    "each layer has a rule of its own form here; expected register_grad_sampler, or rules= of PrivacyEngine, "
    "for a layer of one's own, and grad_sample_mode='hooks' for parameter.grad_sample"
)
_HOOKS = (
    "there are no hook objects of several kinds; expected GradSampleModule, or "
    "make_private(wrap_model=False) and optimizer.capture"
)
_SHARDED = (
    "parameters are not sharded; expected DifferentiallyPrivateDistributedDataParallel, where each process "
    "holds all of them"
)
_ACCOUNTING = (
    "it is a part of one accountant; expected RDPAccountant, PRVAccountant or quintain.dp.epsilon(...), "
    "which give epsilon"
)
_EMPTY = (
    "empty batches have the form of full ones, cut to none; expected DPDataLoader or make_private, which see "
    "to it"
)
_CELLS = (
    "DPLSTM, DPGRU, DPRNN and DPMultiheadAttention are torch's own layers, which have no parts or renamed "
    "parameters"
)
_FIXES = (
    "BatchNorm and InstanceNorm are validated and replaced in one place; expected ModuleValidator.validate "
    "and ModuleValidator.fix"
)
_ADAPTIVE = "it is a way to clip here; expected make_private(clipping='adaptive', grad_sample_mode='ghost')"
_PIECES = (
    "the loader itself cuts batches; expected BatchMemoryManager, or "
    "make_private(max_physical_batch_size=...)"
)
_MICRO = "it is a part of one check; expected check_per_sample_gradients_are_correct"
_TENSOR = "losses are plain tensors; expected loss.backward(), which clips as well"
_UNFOLDED = "convolutions are not unfolded here; expected torch.nn.functional.unfold"
_AVERAGE = (
    "sums are added up over the processes in the step; expected the optimizer that make_private returns"
)
_LIGHTNING = (
    "Lightning takes over the loop and the optimizers; expected an ordinary loop over the loader that "
    "make_private returns"
)

# names by the module of opacus.grad_sample that has them: rules of layers, hook objects, sharded parameters
_FORMULAS = {
    "conv": "compute_conv_grad_sample convolution2d_backward_as_a_convolution",
    "dp_multihead_attention": "compute_sequence_bias_grad_sample",
    "dp_rnn": "compute_rnn_linear_grad_sample",
    "embedding": "compute_embedding_grad_sample compute_embedding_norm_sample "
    "compute_embeddingbag_gradsampler",
    "embedding_norm_sample": "compute_embedding_norm_sample",
    "functorch": "ft_compute_per_sample_gradient make_functional prepare_layer",
    "group_norm": "compute_group_norm_grad_sample",
    "instance_norm": "compute_instance_norm_grad_sample",
    "layer_norm": "compute_layer_norm_grad_sample",
    "linear": "compute_linear_grad_sample compute_linear_norm_sample",
    "rms_norm": "compute_rms_norm_grad_sample",
    "grad_sample_module": "create_or_accumulate_grad_sample promote_current_grad_sample",
    "grad_sample_module_fast_gradient_clipping": "create_norm_sample",
    "utils": "prepare_module register_norm_sampler",
}
_HOOKED = {
    "grad_sample_module": "GradSampleHooks",
    "grad_sample_module_fast_gradient_clipping": "GradSampleHooksFastGradientClipping",
    "gsm_base": "AbstractGradSampleHooks AbstractGradSampleModule OPACUS_PARAM_MONKEYPATCH_ATTRS",
    "gsm_no_op": "GradSampleHooksNoOp GradSampleModuleNoOp",
    "utils": "get_hooks_class",
}
_SPLIT = {
    "grad_sample_module_fast_gradient_clipping_fsdp": "GradSampleHooksFastGradientClippingFSDP "
    "GradSampleModuleFastGradientClippingFSDP",
    "grad_sample_module_fast_gradient_clipping_tp": "GradSampleHooksFastGradientClippingTP "
    "GradSampleModuleFastGradientClippingTP",
}
_PRVS = "DiscretePRV PoissonSubsampledGaussianPRV TruncatedPrivacyRandomVariable discretize"
_ADAPTIVES = (
    "DPLossFastGradientAdaptiveClipping DPTensorFastGradientAdaptiveClipping PrivacyEngineAdaptiveClipping"
)
_NORMS = ("batch_norm", "gru", "instance_norm", "lstm", "multihead_attention")

# what is expected instead -> module path inside opacus -> the names there, separated by spaces
_LISTED: Mapping[str, Mapping[str, str]] = {
    _RULES: {
        **{f"grad_sample.{path}": names for path, names in _FORMULAS.items()},
        "grad_sample": (
            "compute_conv_grad_sample compute_embedding_grad_sample compute_embedding_norm_sample "
            "compute_group_norm_grad_sample compute_instance_norm_grad_sample compute_layer_norm_grad_sample "
            "compute_linear_grad_sample compute_rms_norm_grad_sample compute_rnn_linear_grad_sample "
            "compute_sequence_bias_grad_sample create_or_accumulate_grad_sample prepare_module "
            "register_norm_sampler"
        ),
    },
    _HOOKS: {
        **{f"grad_sample.{path}": names for path, names in _HOOKED.items()},
        "grad_sample": (
            "AbstractGradSampleHooks AbstractGradSampleModule GradSampleHooks "
            "GradSampleHooksFastGradientClipping GradSampleHooksNoOp GradSampleModuleNoOp"
        ),
    },
    _SHARDED: {
        **{f"grad_sample.{path}": names for path, names in _SPLIT.items()},
        "grad_sample": " ".join(_SPLIT.values()),
        "optimizers": "FSDPOptimizerFastGradientClipping",
        "optimizers.fsdpoptimizer_fast_gradient_clipping": "FSDPOptimizerFastGradientClipping",
        "utils.fsdp_utils": "FSDP2Wrapper has_params iterate_submodules",
    },
    _ACCOUNTING: {
        "accountants.accountant": "T_state_dict",
        "accountants.utils": "MAX_SIGMA",
        "accountants.analysis.gdp": (
            "compute_eps_poisson compute_eps_uniform compute_mu_poisson compute_mu_uniform delta_eps_mu "
            "eps_from_mu"
        ),
        "accountants.analysis.prv": f"Domain compose_heterogeneous compute_safe_domain_size {_PRVS}",
        "accountants.analysis.prv.compose": "compose_heterogeneous",
        "accountants.analysis.prv.domain": "Domain compute_safe_domain_size",
        "accountants.analysis.prv.prvs": f"SQRT2 {_PRVS}",
        "accountants.analysis.rdp": "compute_rdp get_privacy_spent",
    },
    _EMPTY: {"data_loader": "CollateFnWithEmpty dtype_safe shape_safe wrap_collate_with_empty"},
    _CELLS: {
        "layers": "RenameParamsMixin",
        "layers.dp_rnn": "DPGRUCell DPLSTMCell DPRNNBase DPRNNCell DPRNNCellBase RNNLinear "
        "RNN_CELL_TYPES apply_permutation",
        "layers.param_rename": "RenameParamsMixin filter_out_old_keys",
    },
    _FIXES: {
        "validators": "fix validate",
        **{f"validators.{path}": "fix validate" for path in _NORMS},
        "validators.batch_norm": "BATCHNORM INSTANCENORM fix validate",
        "validators.instance_norm": "INSTANCENORM fix validate",
        "validators.utils": "DEFAULT_MODULE_VALIDATOR",
    },
    _ADAPTIVE: {
        "utils.adaptive_clipping": _ADAPTIVES,
        "utils.adaptive_clipping.adaptive_clipping_utils": _ADAPTIVES,
    },
    _PIECES: {"utils.batch_memory_manager": "BatchSplittingSampler wrap_data_loader"},
    _MICRO: {
        "utils.per_sample_gradients_utils": (
            "ModelWithLoss check_torch_version_for_ew_sample compute_grad_samples_microbatch_and_opacus "
            "compute_microbatch_grad_sample compute_microbatch_grad_sample_tensor_or_seq "
            "compute_opacus_grad_sample get_grad_sample_modes is_batch_empty unpack_packedsequences"
        )
    },
    _TENSOR: {"utils.fast_gradient_clipping_utils": "DPTensorFastGradientClipping"},
    _UNFOLDED: {"utils.tensor_utils": "filter_dilated_rows unfold2d unfold3d"},
    _AVERAGE: {"distributed": "average_gradients"},
    _LIGHTNING: {"lightning": "DPLightningDataModule"},
}


def _by_path() -> dict[str, dict[str, str]]:
    """``_LISTED`` the other way round, as it is looked up: by path and name."""
    found: dict[str, dict[str, str]] = {}
    for reason, paths in _LISTED.items():
        for path, names in paths.items():
            found.setdefault(path, {}).update(dict.fromkeys(names.split(), reason))
    return found


REFUSED: Mapping[str, Mapping[str, str]] = _by_path()
"""By module path inside opacus, the names that are missing here, each with why and what to use instead."""


def missing_name_getattr(module: str) -> Callable[[str], Any]:
    """Return a module's ``__getattr__``, which says why a name of Opacus is missing from it.

    Args:
        module: Its ``__name__``.
    """
    path = module.removeprefix(PACKAGE).removeprefix(".")

    def __getattr__(name: str) -> Any:
        if (reason := REFUSED.get(path, {}).get(name)) is not None:
            raise ImportError(f"opacus.{path}.{name} is not in quintain.dp: {reason}", name=module)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return __getattr__


class RefusedModules(MetaPathFinder, Loader):
    """Finds the modules of Opacus that have no file here: empty ones, whose names say why they are missing.

    Some forty modules of Opacus hold nothing but names that are refused; a file for each would say nothing
    that ``REFUSED`` does not. Python asks this finder last, where it finds no file.
    """

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """The module of a path of Opacus of which nothing is here."""
        inside = fullname.removeprefix(f"{PACKAGE}.")
        has_modules = any(known.startswith(f"{inside}.") for known in REFUSED)
        if inside == fullname or not (inside in REFUSED or has_modules):
            return None
        return ModuleSpec(fullname, self, is_package=has_modules)

    def exec_module(self, module: ModuleType) -> None:
        """Fill the empty module."""
        module.__doc__ = (
            f"Names of ``{module.__name__.removeprefix('quintain.dp.')}``, none of which is here."
        )
        module.__all__ = []  # type: ignore[attr-defined]
        module.__getattr__ = missing_name_getattr(module.__name__)  # type: ignore[method-assign]
