"""Noise and bounds that change from epoch to epoch: each step is recorded with the noise that it had."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.step.optimizer import DPOptimizer


class Scheduler:
    r"""Sets one setting of a private optimiser, :math:`v_t = v_0\, h(t)`, when it is made and at each ``step()``.

    Made before the first private step, it is a plan that was fixed beforehand. Made later, what it does to the noise is a choice, as if the
    noise were set by hand (see ``PrivacyRecord.fixed_beforehand``), and so is a state that sets other noise than the optimiser has.

    Args:
        optimizer: Whose setting it is.
        factor: h.
        last_epoch: t before the first step, which making it takes.

    Raises:
        SettingError: If it is no private optimiser.
    """

    sets: ClassVar[Literal["noise_multiplier", "max_grad_norm"]]

    def __init__(self, optimizer: DPOptimizer, factor: Callable[[int], float], last_epoch: int) -> None:
        if not isinstance(optimizer, DPOptimizer):
            raise SettingError(f"got a {type(optimizer).__name__}; expected the private optimiser that make_private returned")
        self.optimizer, self.factor, self.last_epoch = optimizer, factor, last_epoch
        self.base: float = getattr(optimizer, self.sets)
        self._beforehand = not optimizer.ledger.steps
        self.step()

    def step(self) -> None:
        """Go on to the next epoch."""
        self.last_epoch += 1
        self._set()

    def state_dict(self) -> dict[str, Any]:
        """Epoch, first value, and whether it was made before the first private step; plain numbers."""
        return {"last_epoch": self.last_epoch, "base": self.base, "beforehand": self._beforehand}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from ``state_dict``."""
        if not (isinstance(state_dict, dict) and {"last_epoch", "base", "beforehand"} <= state_dict.keys()):
            raise PrivacyError(f"got no state of a {type(self).__name__}: {state_dict!r:.80}; expected all of what state_dict() gave")
        self.last_epoch, self.base = state_dict["last_epoch"], state_dict["base"]
        same = math.isclose(self._value, getattr(self.optimizer, self.sets), rel_tol=1e-9)
        self._beforehand = not self.optimizer.ledger.steps or (same and state_dict["beforehand"])
        self._set()

    @property
    def _value(self) -> float:
        return self.base * self.factor(self.last_epoch)

    def _set(self) -> None:
        self.optimizer.set_as_planned(self.sets, self._value, beforehand=self._beforehand)


class _Exponential(Scheduler):
    def __init__(self, optimizer: DPOptimizer, *, gamma: float, last_epoch: int = -1) -> None:
        super().__init__(optimizer, lambda epoch: gamma**epoch, last_epoch)


class _Step(Scheduler):
    def __init__(self, optimizer: DPOptimizer, *, step_size: int, gamma: float, last_epoch: int = -1) -> None:
        super().__init__(optimizer, lambda epoch: gamma ** (epoch // step_size), last_epoch)


class ExponentialNoise(_Exponential):
    """sigma times ``gamma`` at each step."""

    sets = "noise_multiplier"


class StepNoise(_Step):
    """sigma times ``gamma`` every ``step_size`` steps."""

    sets = "noise_multiplier"


class LambdaNoise(Scheduler):
    """sigma times ``noise_lambda(epoch)``."""

    sets = "noise_multiplier"

    def __init__(self, optimizer: DPOptimizer, *, noise_lambda: Callable[[int], float], last_epoch: int = -1) -> None:
        super().__init__(optimizer, noise_lambda, last_epoch)


class ExponentialGradClip(_Exponential):
    """C times ``gamma`` at each step, clip and noise alike."""

    sets = "max_grad_norm"


class StepGradClip(_Step):
    """C times ``gamma`` every ``step_size`` steps, clip and noise alike."""

    sets = "max_grad_norm"


class LambdaGradClip(Scheduler):
    """C times ``scheduler_function(epoch)``, clip and noise alike."""

    sets = "max_grad_norm"

    def __init__(self, optimizer: DPOptimizer, *, scheduler_function: Callable[[int], float], last_epoch: int = -1) -> None:
        super().__init__(optimizer, scheduler_function, last_epoch)
