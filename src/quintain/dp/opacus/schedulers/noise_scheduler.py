"""Noise multipliers that change from epoch to epoch."""

from collections.abc import Callable

from quintain.dp.opacus.optimizers.optimizer import DPOptimizer
from quintain.dp.opacus.refused import missing_name_getattr
from quintain.dp.opacus.schedulers.scheduler import ExponentialScheduler, Scheduler, StepScheduler

__all__ = ["ExponentialNoise", "LambdaNoise", "StepNoise"]
__getattr__ = missing_name_getattr(__name__)


class ExponentialNoise(ExponentialScheduler):
    """sigma times ``gamma`` at each step."""

    setting = "noise_multiplier"


class StepNoise(StepScheduler):
    """sigma times ``gamma`` every ``step_size`` steps."""

    setting = "noise_multiplier"


class LambdaNoise(Scheduler):
    """sigma times ``noise_lambda(epoch)``."""

    setting = "noise_multiplier"

    def __init__(
        self, optimizer: DPOptimizer, *, noise_lambda: Callable[[int], float], last_epoch: int = -1
    ) -> None:
        super().__init__(optimizer, noise_lambda, last_epoch)
