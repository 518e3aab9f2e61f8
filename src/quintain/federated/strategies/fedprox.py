"""FedProx: a pull toward the common model in the local loss."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from quintain.core.errors import SettingError
from quintain.federated.strategies.strategy import LocalTraining, State, Strategy
from quintain.training import Objective
from quintain.training.objective import StepContext


@dataclass(frozen=True, slots=True)
class FedProx(Strategy):
    r"""FedProx: sites whose data differ drift apart less, since the local loss pulls toward the common model.

    .. math:: \ell(w) + \frac{\mu}{2} \|w - w_{common}\|^2

    With mu = 0 it is federated averaging, bit for bit.

    Args:
        mu: The pull; the paper takes 0.001 to 1.

    Raises:
        SettingError: If mu is negative or not finite.

    Source: Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, 2020, arXiv:1812.06127.
    """

    name: ClassVar[str] = "fedprox"
    summary: ClassVar[str] = "the local loss pulls toward the common model, for sites whose data differ"
    changes_loss: ClassVar[bool] = True

    mu: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.mu < math.inf:
            raise SettingError(f"mu = {self.mu}; expected 0 or more, such as 0.01")

    def train(self, local: nn.Module, home: State, training: LocalTraining) -> tuple[State, float]:
        """Train on the loss with the pull; the loss that is returned holds it too."""
        start = {
            name: value.detach().clone() for name, value in local.named_parameters() if value.requires_grad
        }
        return home, training.fit(local, _ProximalLoss(training.objective, self.mu, start))


@dataclass(frozen=True, slots=True)
class _ProximalLoss:
    """A loss with a pull toward some weights."""

    objective: Objective
    mu: float
    start: State

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, context: StepContext) -> Tensor:
        distance = torch.stack(
            [
                (value - self.start[name]).square().sum()
                for name, value in net.named_parameters()
                if name in self.start
            ]
        ).sum()
        return self.objective(net, x, y, context) + self.mu / 2 * distance
