"""Noise and bounds that change from epoch to epoch: each step is recorded with the noise that it had."""

import hashlib
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.accounting.checksum import add_checksum, verified_content
from quintain.dp.opacus.optimizers.optimizer import DPOptimizer

PLANNED_EPOCHS = 10_000
"""Epochs that a plan is known for."""


class Scheduler:
    r"""Sets one setting of a private optimizer, :math:`v_t = v_0\, h(t)`, when it is made and at each
    ``step()``.

    Made before the first private step, it is a plan that was fixed beforehand. Made later, what it does to
    the noise is a choice, as if the noise were set by hand (see ``PrivacyReport.fixed_beforehand``). So is
    all that it sets from there on where

    - h gives another value than it gave before, or a state is of another plan. A plan is the values at the
      next ``PLANNED_EPOCHS`` epochs: h is called for these when the schedule is made, and again whenever one
      of them has come. What h does beyond is not compared until it is as near;
    - ``step()`` is called after more or fewer private steps than the time before, or not at all when it is
      due: calls that follow what was looked at are no plan. The first call after a private step says how many
      there are between calls;
    - it was made before a state was loaded into its optimizer, and its own state of then was not loaded;
    - its setting was set to another value in between, by hand or by a state that does not fit.

    Args:
        optimizer: Whose setting it is.
        schedule: h, a function of the epoch alone: each is asked for more than once, and long before it
            comes. An error there is no value.
        last_epoch: t before the first step, which making it takes.

    Raises:
        SettingError: If it is no private optimizer.
        PrivacyError: If its epoch or first value is set: these are part of the plan.
    """

    setting: ClassVar[Literal["noise_multiplier", "max_grad_norm"]]

    def __init__(self, optimizer: DPOptimizer, schedule: Callable[[int], float], last_epoch: int) -> None:
        if not isinstance(optimizer, DPOptimizer):
            raise SettingError(
                f"got a {type(optimizer).__name__}; expected the private optimizer that make_private returned"
            )
        self.optimizer, self.schedule, self._epoch = optimizer, schedule, last_epoch
        self._base: float = getattr(optimizer, self.setting)
        self._value = self._base
        self._beforehand = not optimizer.ledger.steps
        # the run whose releases the ledger held when it was made; None once its own state was loaded
        self._run_id: str | None = optimizer.ledger.run_id
        self._first = last_epoch + 1
        # private steps at the latest step() here, and how many there are from one to the next
        self._at, self._pace = optimizer.steps, 0
        self._plan = [self._value_text(self._first + epoch) for epoch in range(PLANNED_EPOCHS)]
        optimizer.attach_step_hook(lambda _optimizer: self._on_private_step())
        self.step()

    @property
    def base(self) -> float:
        """The setting before the first step."""
        return self._base

    @property
    def last_epoch(self) -> int:
        """The epoch that it is at."""
        return self._epoch

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("base", "last_epoch"):
            raise PrivacyError(
                f"got another {name} for a {type(self).__name__}; expected the one that follows from its "
                f"plan: make another schedule, or set optimizer.{self.setting}"
            )
        super().__setattr__(name, value)

    def step(self) -> None:
        """Go on to the next epoch."""
        value = self._base * self.schedule(self._epoch + 1)
        self._epoch += 1
        self._compare(value)
        self._set(value)

    def state_dict(self) -> dict[str, Any]:
        """The epoch, first value, position among private steps, and a hash of the plan, with a checksum."""
        return add_checksum(
            {
                "last_epoch": self._epoch,
                "base": self._base,
                "beforehand": self._beforehand,
                "first": self._first,
                "at": self._at,
                "pace": self._pace,
                "plan": _hash(self._plan),
            }
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from ``state_dict``; by another plan than it was saved with, that is a choice.

        Raises:
            PrivacyError: If it is not what ``state_dict`` gave.
        """
        state = verified_content(state_dict, f"a {type(self).__name__}")
        self._epoch, self._base, self._first, self._at, self._pace = (
            state[name] for name in ("last_epoch", "base", "first", "at", "pace")
        )
        self._plan = [
            self._value_text(epoch) for epoch in range(self._first, self._epoch + 1 + PLANNED_EPOCHS)
        ]
        value = self._base * self.schedule(self._epoch)
        # where the schedule is loaded first, the optimizer's own number is yet to come: the next step looks
        # at it
        self._value = value
        self._beforehand = state["beforehand"] and _hash(self._plan) == state["plan"] and self._untouched
        self._run_id = None
        self._set(value)

    @property
    def _untouched(self) -> bool:
        """Whether the optimizer's number is what this schedule has set."""
        return not self.optimizer.ledger.steps or math.isclose(
            self._value, getattr(self.optimizer, self.setting), rel_tol=1e-9
        )

    def _value_text(self, epoch: int) -> str:
        """The value at an epoch, as far as it is compared; nothing where there is none."""
        try:
            return _text(self._base * self.schedule(epoch))
        except Exception:  # the user's function may be defined for the epochs of its run alone
            return ""

    def _compare(self, value: float) -> None:
        """See whether this epoch's value is the planned one and comes when it is due, and look as far ahead
        from here.
        """
        planned = self._plan[self._epoch - self._first :][:1] == [_text(value)]
        same_run = self._run_id in (None, self.optimizer.ledger.run_id)
        self._beforehand = self._beforehand and planned and same_run and self._untouched and self._due()
        self._plan.append(self._value_text(self._first + len(self._plan)))

    def _due(self) -> bool:
        """Whether as many private steps lie between this step and the latest one as between those before;
        none do before the first.
        """
        passed, self._at = self.optimizer.steps - self._at, self.optimizer.steps
        if not self.optimizer.ledger.steps:
            return True
        self._pace = self._pace or passed
        return passed == self._pace > 0

    def _on_private_step(self) -> None:
        """See whether a step that was due has not come; what is set is a choice from here on."""
        overdue = 0 < self._pace < self.optimizer.steps - self._at
        if self._beforehand and overdue:
            self._beforehand = False
            self.optimizer.private_step.noise_and_clip.begin_choice()

    def _set(self, value: float) -> None:
        self._value = value
        self.optimizer.private_step.configure_by_schedule(
            self.setting, value, fixed_beforehand=self._beforehand
        )


def _text(value: float) -> str:
    return f"{float(value):.9g}"


def _hash(plan: list[str]) -> str:
    return hashlib.blake2b(" ".join(plan).encode(), digest_size=16).hexdigest()


class ExponentialScheduler(Scheduler):
    """The first value times ``gamma`` at each step."""

    def __init__(self, optimizer: DPOptimizer, *, gamma: float, last_epoch: int = -1) -> None:
        super().__init__(optimizer, lambda epoch: gamma**epoch, last_epoch)


class StepScheduler(Scheduler):
    """The first value times ``gamma`` every ``step_size`` steps."""

    def __init__(self, optimizer: DPOptimizer, *, step_size: int, gamma: float, last_epoch: int = -1) -> None:
        super().__init__(optimizer, lambda epoch: gamma ** (epoch // step_size), last_epoch)
