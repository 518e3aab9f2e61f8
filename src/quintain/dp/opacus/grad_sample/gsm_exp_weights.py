"""Opacus' wrapper for expanded weights: here another name of ``GradSampleModule``."""

from quintain.dp.opacus.grad_sample.grad_sample_module import GradSampleModule
from quintain.dp.opacus.refused import missing_name_getattr

__all__ = ["GradSampleModuleExpandedWeights"]
__getattr__ = missing_name_getattr(__name__)

GradSampleModuleExpandedWeights = GradSampleModule
