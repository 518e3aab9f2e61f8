"""The settings of a (not private) training run: epochs, batch size, learning rate, optimizer."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch

from quintain.core.errors import SettingError


@dataclass(frozen=True, slots=True)
class Recipe:
    """The public settings of a training run.

    Args:
        epochs: Passes over the data.
        batch_size: Examples per step; the last step of an epoch takes what is left.
        learning_rate: Learning rate of the first step, which is also the largest.
        weight_decay: Weight decay: decoupled for ``adam``, an L2 penalty for ``sgd``.
        optimizer: ``adam`` (AdamW) or ``sgd`` (with Nesterov momentum if ``momentum`` is positive).
        momentum: Momentum of ``sgd``.
        schedule: ``cosine`` falls from ``learning_rate`` to 0 without restarts, ``constant`` stays.

    Raises:
        SettingError: If a number is out of range.
    """

    epochs: int
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: float = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise SettingError(
                f"epochs = {self.epochs}, batch_size = {self.batch_size}; expected at least 1 of each"
            )
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise SettingError(
                f"learning_rate = {self.learning_rate}; expected a positive number such as 1e-3"
            )
        if self.weight_decay < 0 or not 0 <= self.momentum < 1:
            raise SettingError(
                f"weight_decay = {self.weight_decay}, momentum = {self.momentum}; expected weight_decay >= 0 "
                "and momentum in [0, 1)"
            )

    def build_optimizer(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Return a new optimizer of ``parameters``."""
        if self.optimizer == "adam":
            return torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)
        return torch.optim.SGD(
            parameters,
            lr=self.learning_rate,
            momentum=self.momentum,
            nesterov=self.momentum > 0,
            weight_decay=self.weight_decay,
        )

    def learning_rate_at(self, fraction_done: float) -> float:
        """Return the learning rate after the fraction ``fraction_done``, from 0 to 1, of the run."""
        return (
            self.learning_rate
            if self.schedule == "constant"
            else self.learning_rate * (1 + math.cos(math.pi * fraction_done)) / 2
        )
