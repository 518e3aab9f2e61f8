"""The interface of a training defense, and training with one."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from torch import nn

from quintain import training
from quintain.core.progress import Progress, no_progress
from quintain.training.objective import Objective
from quintain.training.recipe import Recipe

if TYPE_CHECKING:
    from quintain.data.dataset import Dataset


class Defense(Protocol):
    """The settings of a training defense, a frozen value: a recipe, and the loss that it minimizes."""

    @property
    def recipe(self) -> Recipe:
        """Epochs, batch size and optimizer."""

    def objective(self) -> Objective:
        """Return the loss of a step."""


def fit(
    net: nn.Module,
    data: "Dataset",
    defense: Defense,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Progress = no_progress,
) -> training.FitResult:
    """Train ``net`` in place with ``defense``, and leave it in evaluation mode.

    Args:
        net: Takes (B, *S) in [0, 1], gives logits.
        data: Training examples.
        defense: ``PGDTraining``, ``IBPTraining``, ``GaussianAugmentation``, or another value with a
            ``recipe`` and an ``objective()``.
        seed: Of the whole run.
        checkpoint: File that is written after each epoch and, where it exists, resumed from.
        progress: Shows a bar of steps.

    Raises:
        ModelError: If the loss is no finite number, or the defense cannot train a layer of the net.
        RunFolderError: If the checkpoint belongs to another run.
    """
    return training.fit(
        net,
        data,
        defense.recipe,
        objective=defense.objective(),
        seed=seed,
        checkpoint=checkpoint,
        progress=progress,
    )
