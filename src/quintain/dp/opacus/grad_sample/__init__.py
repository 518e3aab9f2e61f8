"""Wrappers that expose per-example gradients as ``parameter.grad_sample``."""

from quintain.dp.opacus.grad_sample.grad_sample_module import GradSampleModule
from quintain.dp.opacus.grad_sample.grad_sample_module_fast_gradient_clipping import (
    GradSampleModuleFastGradientClipping,
)
from quintain.dp.opacus.grad_sample.gsm_exp_weights import GradSampleModuleExpandedWeights
from quintain.dp.opacus.grad_sample.utils import get_gsm_class, register_grad_sampler, wrap_model
from quintain.dp.opacus.refused import missing_name_getattr

__all__ = [
    "GradSampleModule",
    "GradSampleModuleExpandedWeights",
    "GradSampleModuleFastGradientClipping",
    "get_gsm_class",
    "register_grad_sampler",
    "wrap_model",
]
__getattr__ = missing_name_getattr(__name__)
