"""Noise and bounds that change from epoch to epoch: each step is recorded with the noise that it had."""

import hashlib
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.step.optimizer import DPOptimizer

AHEAD = 10_000
"""Epochs that a plan is known for."""


class Scheduler:
    r"""Sets one setting of a private optimiser, :math:`v_t = v_0\, h(t)`, when it is made and at each ``step()``.

    Made before the first private step, it is a plan that was fixed beforehand. Made later, what it does to the noise is a choice, as if the
    noise were set by hand (see ``PrivacyRecord.fixed_beforehand``), and so is a state that sets other noise than the optimiser has.

    A plan is h at the next ``AHEAD`` epochs: these are asked when it is made, and again whenever one of them has come. Where h then gives
    another value than it gave before, or a state is of another plan, what it sets from there on is a choice as well. What h does beyond
    those epochs is not compared until they are as near.

    Args:
        optimizer: Whose setting it is.
        factor: h, a function of the epoch alone: each is asked for more than once, and long before it comes. An error there is no value.
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
        self._first = last_epoch + 1
        self._plan = [self._asked(self._first + epoch) for epoch in range(AHEAD)]
        self.step()

    def step(self) -> None:
        """Go on to the next epoch."""
        self.last_epoch += 1
        value = self.factor(self.last_epoch)
        self._compare(value)
        self._set(self.base * value)

    def state_dict(self) -> dict[str, Any]:
        """Epoch, first value, whether it was made before the first private step, and a hash of its plan; numbers and texts."""
        told = {"last_epoch": self.last_epoch, "base": self.base, "beforehand": self._beforehand}
        return told | {"first": self._first, "plan": _hash(self._plan)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from ``state_dict``; by another plan than it was saved with, that is a choice."""
        if not (isinstance(state_dict, dict) and {"last_epoch", "base", "beforehand", "first", "plan"} <= state_dict.keys()):
            raise PrivacyError(f"got no state of a {type(self).__name__}: {state_dict!r:.80}; expected all of what state_dict() gave")
        self.last_epoch, self.base, self._first = (state_dict[name] for name in ("last_epoch", "base", "first"))
        self._plan = [self._asked(epoch) for epoch in range(self._first, self.last_epoch + 1 + AHEAD)]
        value = self.base * self.factor(self.last_epoch)
        planned = _hash(self._plan) == state_dict["plan"]
        # where the schedule is loaded first, the optimiser's own number is yet to come
        same = not self.optimizer.ledger.steps or math.isclose(value, getattr(self.optimizer, self.sets), rel_tol=1e-9)
        self._beforehand = state_dict["beforehand"] and planned and same
        self._set(value)

    def _asked(self, epoch: int) -> str:
        """h at an epoch, as far as it is compared; nothing where it has no value."""
        try:
            return _text(self.factor(epoch))
        except Exception:
            return ""

    def _compare(self, value: float) -> None:
        """See whether this epoch's value is the planned one, and look as far ahead from here."""
        if self._plan[self.last_epoch - self._first :][:1] != [_text(value)]:
            self._beforehand = False
        self._plan.append(self._asked(self._first + len(self._plan)))

    def _set(self, value: float) -> None:
        self.optimizer.set_as_planned(self.sets, value, beforehand=self._beforehand)


def _text(value: float) -> str:
    return f"{float(value):.9g}"


def _hash(plan: list[str]) -> str:
    return hashlib.blake2b(" ".join(plan).encode(), digest_size=16).hexdigest()


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
