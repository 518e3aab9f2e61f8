"""Clip bounds that change from epoch to epoch."""

from collections.abc import Callable

from quintain.dp.opacus.optimizers.optimizer import DPOptimizer
from quintain.dp.opacus.refused import missing_name_getattr
from quintain.dp.opacus.schedulers.scheduler import ExponentialScheduler, Scheduler, StepScheduler

__all__ = ["ExponentialGradClip", "LambdaGradClip", "StepGradClip"]
__getattr__ = missing_name_getattr(__name__)


class ExponentialGradClip(ExponentialScheduler):
    """C times ``gamma`` at each step, clip and noise alike."""

    setting = "max_grad_norm"


class StepGradClip(StepScheduler):
    """C times ``gamma`` every ``step_size`` steps, clip and noise alike."""

    setting = "max_grad_norm"


class LambdaGradClip(Scheduler):
    """C times ``scheduler_function(epoch)``, clip and noise alike."""

    setting = "max_grad_norm"

    def __init__(
        self, optimizer: DPOptimizer, *, scheduler_function: Callable[[int], float], last_epoch: int = -1
    ) -> None:
        super().__init__(optimizer, scheduler_function, last_epoch)
