"""The loss that a training step minimizes: a function of the net, a batch and the step's context."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from quintain.models.adapters import forward_logits


@dataclass(frozen=True, slots=True)
class StepContext:
    """The position of a step in the run, its seed and its examples.

    Args:
        step: Number of the step, from 0.
        total_steps: Number of steps of the run.
        epoch: Number of the epoch, from 0.
        total_epochs: Number of epochs of the run.
        seed: Of this step alone.
        ids: Rows of the batch in the data set, shape (B,).
    """

    step: int
    total_steps: int
    epoch: int
    total_epochs: int
    seed: int
    ids: Tensor

    @property
    def fraction_done(self) -> float:
        """The fraction of the run that is done, in [0, 1)."""
        return self.step / self.total_steps


class Objective(Protocol):
    """The loss of one step; its ``repr`` names all its settings and enters the checkpoint's fingerprint."""

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, context: StepContext) -> Tensor:
        """Return the scalar loss for inputs x (B, *S) in [0, 1] and labels y (B,).

        The net is in training mode; its logits, whatever it returns, are ``forward_logits(net, x)``.
        """


@dataclass(frozen=True, slots=True)
class CleanCrossEntropy:
    """Mean cross-entropy on the examples as they are."""

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, context: StepContext) -> Tensor:  # noqa: ARG002
        """Return the mean cross-entropy of a batch."""
        return torch.nn.functional.cross_entropy(forward_logits(net, x), y)
