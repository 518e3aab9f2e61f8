"""Noise and bounds that change from epoch to epoch."""

from quintain.dp.opacus.refused import missing_name_getattr
from quintain.dp.opacus.schedulers.grad_clip_scheduler import (
    ExponentialGradClip,
    LambdaGradClip,
    StepGradClip,
)
from quintain.dp.opacus.schedulers.noise_scheduler import ExponentialNoise, LambdaNoise, StepNoise

__all__ = [
    "ExponentialGradClip",
    "ExponentialNoise",
    "LambdaGradClip",
    "LambdaNoise",
    "StepGradClip",
    "StepNoise",
]
__getattr__ = missing_name_getattr(__name__)
