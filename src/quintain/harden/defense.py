"""The interface of a training defense, and training with one."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from torch import nn

from quintain import training
from quintain.core.progress import Progress, no_progress
from quintain.threats.threat import Threat
from quintain.training.objective import Objective
from quintain.training.recipe import Recipe

if TYPE_CHECKING:
    from quintain.data.dataset import Dataset


class Defense(Protocol):
    """The settings of a training defense, a frozen value: a recipe, and the loss that it minimizes.

    One with a ``summary`` is registered. What it says of itself are class variables, written there and
    nowhere else: ``name``; ``summary``, one line for ``quintain list``; ``guarantee``; ``supports``, the
    kinds of threats that it takes; ``example``, the threat that it is trained against where none was named;
    ``default_rank``, its place among the defenses that are taken where none was named, from 1;
    ``certifier``, the certifier that its result is trained for; ``exemptions``; ``old_names``. Of the
    settings ``threat`` and ``sigma`` it gets those that it has.
    """

    certifier: ClassVar[str]

    @property
    def threat(self) -> Threat:
        """What the trained model is attacked and certified in, where nothing else was named."""

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
        defense: ``PGDTraining``, ``TRADES``, ``IBPTraining`` ..., or another value with a ``recipe`` and an
            ``objective()``.
        seed: Of the whole run.
        checkpoint: File that is written on the way and, where it exists, resumed from.
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
