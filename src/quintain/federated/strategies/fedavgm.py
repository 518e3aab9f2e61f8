"""Federated averaging with momentum at the server."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from quintain.core.errors import SettingError
from quintain.federated.strategies.strategy import State, Strategy

VELOCITY = "velocity"


@dataclass(frozen=True, slots=True)
class FedAvgM(Strategy):
    r"""Federated averaging with momentum: a step of the server goes on with a part of the step before.

    .. math:: v \leftarrow \beta v + \Delta, \quad \theta \leftarrow \theta + v

    Where the averages stay the same, the model comes to move by :math:`1 / (1 - \beta)` of them a round. With
    momentum 0 it is federated averaging, bit for bit.

    Args:
        momentum: beta, in [0, 1).

    Raises:
        SettingError: If the momentum is out of range.

    Source: Hsu, Qi, Brown, 2019, arXiv:1909.06335.
    """

    name: ClassVar[str] = "fedavgm"
    summary: ClassVar[str] = "as federated averaging, with momentum at the server"
    is_stateful: ClassVar[bool] = True

    momentum: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise SettingError(f"momentum = {self.momentum}; expected a number in [0, 1), such as 0.5")

    def step(
        self,
        mean: Tensor,
        state: State,
        weight_fraction: float,  # noqa: ARG002
    ) -> tuple[Tensor, State]:
        """Return the average, plus momentum times the step before."""
        velocity = mean + self.momentum * state[VELOCITY] if state else mean.clone()
        return velocity, {VELOCITY: velocity}

    def memory_after(self, change: Tensor) -> State:
        """Return the step itself: the velocity is the change of the model."""
        return {VELOCITY: change}

    def largest_step(self, clip_value: float) -> float:
        """Return the largest step: that of averages which are at the clip in every round."""
        return clip_value / (1 - self.momentum)
