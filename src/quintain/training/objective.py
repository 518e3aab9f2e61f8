"""What a training step minimises: a function of the net, a batch and the moment."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from quintain.models.adapters import adapt


@dataclass(frozen=True, slots=True)
class Moment:
    """Where in the run a step stands.

    Args:
        step: From 0.
        steps: How many there are.
        epoch: From 0.
        epochs: How many there are.
        seed: Of this step alone.
        ids: Rows of the batch in the data set, shape (B,).
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    seed: int
    ids: Tensor

    @property
    def share(self) -> float:
        """How much of the run is done, in [0, 1)."""
        return self.step / self.steps


class Objective(Protocol):
    """The loss of one step; its ``repr`` names all its settings, so that a checkpoint knows what it belongs to."""

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The scalar to minimise, for inputs x (B, *S) in [0, 1] and labels y (B,); the net is in training mode."""


@dataclass(frozen=True, slots=True)
class Plain:
    """Mean cross-entropy on the examples as they are."""

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:  # noqa: ARG002
        """The mean cross-entropy of a batch."""
        return torch.nn.functional.cross_entropy(adapt(net(x), len(x)), y)
