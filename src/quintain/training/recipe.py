"""How long, how fast and with which optimiser."""

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
        batch: Examples a step; the last step of an epoch takes what is left.
        rate: Highest learning rate.
        weight_decay: Decoupled for ``adam``.
        optimizer: ``adam`` (AdamW) or ``sgd`` (Nesterov where there is momentum).
        momentum: For ``sgd``.
        schedule: ``cosine`` falls from ``rate`` to 0, ``constant`` stays.

    Raises:
        SettingError: If a number is out of range.
    """

    epochs: int
    batch: int = 128
    rate: float = 1e-3
    weight_decay: float = 0.0
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: float = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise SettingError(f"epochs = {self.epochs}, batch = {self.batch}; expected at least 1 of each")
        if not (self.rate > 0 and math.isfinite(self.rate)):
            raise SettingError(f"rate = {self.rate}; expected a positive number such as 1e-3")
        if self.weight_decay < 0 or not 0 <= self.momentum < 1:
            raise SettingError(
                f"weight_decay = {self.weight_decay}, momentum = {self.momentum}; expected weight_decay >= 0 and momentum in [0, 1)"
            )

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """A fresh optimiser over ``parameters``."""
        if self.optimizer == "adam":
            return torch.optim.AdamW(parameters, lr=self.rate, weight_decay=self.weight_decay)
        return torch.optim.SGD(parameters, lr=self.rate, momentum=self.momentum, nesterov=self.momentum > 0, weight_decay=self.weight_decay)

    def rate_at(self, share: float) -> float:
        """The learning rate once ``share`` in [0, 1] of the run is done."""
        return self.rate if self.schedule == "constant" else self.rate * (1 + math.cos(math.pi * share)) / 2
