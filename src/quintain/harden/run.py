"""Training by a plan."""

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from quintain import training
from quintain.core.progress import Progress, silent
from quintain.harden.plan import Plan

if TYPE_CHECKING:
    from quintain.data.dataset import Dataset


def fit(
    net: nn.Module, data: "Dataset", plan: Plan, *, seed: int = 0, checkpoint: Path | None = None, progress: Progress = silent
) -> training.Fitted:
    """Train ``net`` in place as ``plan`` says, and leave it in evaluation mode.

    Args:
        net: Takes (B, *S) in [0, 1], gives logits.
        data: Training examples.
        plan: ``PGDTraining``, ``IntervalTraining``, ``NoiseTraining``, or another with a ``recipe`` and an ``objective()``.
        seed: Of the whole run.
        checkpoint: File that is written after each epoch and, where it exists, gone on from.
        progress: Shows a bar of steps.

    Raises:
        ModelError: If the loss is no finite number, or the plan cannot take a layer of the net.
        RunFolderError: If the checkpoint belongs to another run.
    """
    return training.fit(net, data, plan.recipe, objective=plan.objective(), seed=seed, checkpoint=checkpoint, progress=progress)
