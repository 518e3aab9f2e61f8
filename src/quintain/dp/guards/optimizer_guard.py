"""A guard that lets no optimizer step unless every private step agrees, so that none steps past the noise."""

from typing import Any, Protocol
from weakref import WeakSet

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook


class StepGuard(Protocol):
    """A check that is called before the step of any optimizer."""

    def before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Raise if the optimizer must not step."""


_GUARDED_STEPS: WeakSet[StepGuard] = WeakSet()


def guard_parameters(private: StepGuard) -> None:
    """Refuse steps of other optimizers on these parameters while their gradients are captured."""
    _GUARDED_STEPS.add(private)


def _before_any_step(optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
    for private in tuple(_GUARDED_STEPS):
        private.before_optimizer_step(optimizer)


register_optimizer_step_pre_hook(_before_any_step)
