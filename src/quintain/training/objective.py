"""The loss that a training step minimizes: a function of the net, a batch and the step's context."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from quintain.core.seeds import derive_seed
from quintain.models.adapters import forward_logits
from quintain.training.shard import WHOLE_BATCH, Shard


@dataclass(frozen=True, slots=True)
class StepContext:
    """The position of a step in the run, its seed and its examples.

    Args:
        step: Number of the step, from 0.
        total_steps: Number of steps of the run.
        epoch: Number of the epoch, from 0.
        total_epochs: Number of epochs of the run.
        seed: Of this step alone.
        ids: Rows in the data set of the examples in this process' shard of the batch, shape (B,).
        batch_size: Number of examples in the whole batch; as many as ``ids`` if not given.
        shard: Which examples of the batch are in this process' shard.
    """

    step: int
    total_steps: int
    epoch: int
    total_epochs: int
    seed: int
    ids: Tensor
    batch_size: int = 0
    shard: Shard = WHOLE_BATCH

    @staticmethod
    def at(step: int, total_steps: int, *, ids: Tensor, seed: int = 0) -> "StepContext":
        """Return the context of a step in a training loop of one's own, of one epoch.

        Args:
            step: Number of the step, from 0.
            total_steps: Number of steps of the run.
            ids: One integer for each example of the batch (B,): its number in the data set.
            seed: Of the whole run.
        """
        return StepContext(
            step, total_steps, epoch=0, total_epochs=1, seed=derive_seed(seed, "step", step), ids=ids
        )

    @property
    def fraction_done(self) -> float:
        """The fraction of the run that is done, in [0, 1)."""
        return self.step / self.total_steps

    def rows_of_batch(self, values: Tensor) -> Tensor:
        """Return this process' rows of values of the whole batch (``batch_size``, ...)."""
        return values[self.shard.rows(len(values))]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace means over this process' shard, in place, by those over the whole batch."""
        self.shard.average(tensors, len(self.ids), self.batch_size or len(self.ids))


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
