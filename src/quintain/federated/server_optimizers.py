"""What a server makes of the average of the updates: the step that it takes with the common model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor

State = Mapping[str, Tensor]
"""What an optimizer remembers from step to step, by name; empty at first."""


class ServerOptimizer(Protocol):
    """A server optimizer is a pure function of the average and of what it remembers.

    Pure, so that a checkpoint holds all of it, and that a client can take the same step with the published
    average and compare (``model_chain``).

    Attributes:
        is_stateful: Whether a step depends on those before it.
    """

    is_stateful: ClassVar[bool]

    def step(self, mean: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the change of the weights (length,) in float64, and what to remember.

        Args:
            mean: (length,) the weighted average of the clients' updates, in float64.
            state: What the last step returned.
        """

    def largest_step(self, clip_value: float) -> float:
        """Return the largest change of a weight in one step, if no entry of the average exceeds the clip."""


@dataclass(frozen=True, slots=True)
class FedAvg:
    """Federated averaging: the change is the average itself.

    Source: McMahan et al., 2017, arXiv:1602.05629.
    """

    is_stateful: ClassVar[bool] = False

    def step(self, mean: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the average as it is."""
        return mean, state

    def largest_step(self, clip_value: float) -> float:
        """Return the clip."""
        return clip_value
