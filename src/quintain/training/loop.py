"""The one training loop: clean, adversarial, certified and local training are this loop with another loss."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from quintain.core.errors import ModelError
from quintain.core.progress import CheckpointTimer, Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.training.checkpoint import TrainingPlace, load_checkpoint, save_checkpoint
from quintain.training.objective import CleanCrossEntropy, Objective, StepContext
from quintain.training.recipe import Recipe

if TYPE_CHECKING:
    from quintain.data.dataset import Dataset


CLEAN_CROSS_ENTROPY = CleanCrossEntropy()


@dataclass(frozen=True, slots=True)
class FitResult:
    """The losses and the number of steps of a training run.

    Args:
        losses: Mean loss of each epoch.
        steps: Steps taken, those before a resumption included.
    """

    losses: tuple[float, ...]
    steps: int


def fit(
    net: nn.Module,
    data: "Dataset",
    recipe: Recipe,
    *,
    objective: Objective = CLEAN_CROSS_ENTROPY,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Progress = no_progress,
    progress_label: str = "train",
) -> FitResult:
    """Train ``net`` in place and leave it in evaluation mode.

    All random numbers, those of the order of the examples and of dropout included, follow from ``seed`` and
    the step. A run that was interrupted and resumed from its checkpoint therefore ends with the same weights
    as one that was not: bit for bit on the same machine, with as many threads and the same libraries; up to
    rounding elsewhere. Where the net has batch norms, a last batch of one example is left out of each epoch.

    Args:
        net: Takes (B, *S) in [0, 1], gives logits (B, K).
        data: Training examples.
        recipe: Epochs, batch size, optimizer.
        objective: The loss of a step.
        seed: Of the whole run.
        checkpoint: File that is written about every ten seconds and at the end and, where it exists,
            resumed from; its weights then replace those of ``net``.
        progress: Shows a bar of steps.
        progress_label: The bar's name.

    Raises:
        ModelError: If nothing in the net can be trained, or the loss is no finite number.
        RunFolderError: If the checkpoint belongs to another run: other data, settings, seed or net.
        KeyboardInterrupt: With what is kept, in words.
    """
    trainable = {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}
    if not trainable:
        raise ModelError(
            f"{type(net).__name__} has no trainable parameters; expected some: set requires_grad on those to "
            "train"
        )
    device = next(iter(trainable.values())).device
    optimizer = recipe.build_optimizer(trainable.values())
    needs_pairs = any(isinstance(module, _BatchNorm) for module in net.modules())
    per_epoch = math.ceil(len(data) / recipe.batch_size)
    total = per_epoch * recipe.epochs
    fingerprint = _fingerprint(recipe, objective, data.hash, seed, net, trainable) if checkpoint else ""
    place = TrainingPlace()
    if checkpoint is not None and checkpoint.exists():
        place = load_checkpoint(checkpoint, net, optimizer, fingerprint=fingerprint)
    saver = None if checkpoint is None else _Saver(checkpoint, net, optimizer, fingerprint, place)
    losses = list(place.losses)
    with (
        progress.bar(progress_label, total) as advance,
        isolated_rng(device),
        _interruption(saver, per_epoch),
    ):
        advance(place.epoch * per_epoch + place.step)
        # Order and step seeds follow from (seed, epoch, step): a resumed run repeats them without stored
        # generator states.
        for epoch in range(place.epoch, recipe.epochs):
            order = np.random.default_rng(derive_seed(seed, "order", epoch)).permutation(len(data))
            first, running = (place.step, place.running_loss) if epoch == place.epoch else (0, 0.0)
            for index in range(first, per_epoch):
                ids = order[index * recipe.batch_size : (index + 1) * recipe.batch_size]
                if len(ids) == 1 and needs_pairs:
                    advance(1)
                    continue
                step = epoch * per_epoch + index
                context = StepContext(
                    step=step,
                    total_steps=total,
                    epoch=epoch,
                    total_epochs=recipe.epochs,
                    seed=derive_seed(seed, "step", step),
                    ids=torch.from_numpy(ids),
                )
                x, y = data.batch(ids)
                running += _step(
                    net, optimizer, objective, x.to(device), y.to(device), context, recipe
                ) * len(ids)
                advance(1)
                if saver is not None and index + 1 < per_epoch and saver.is_due():
                    saver.save(TrainingPlace(epoch, index + 1, running, tuple(losses)))
            losses.append(running / len(data))
            if saver is not None and (epoch + 1 == recipe.epochs or saver.is_due()):
                saver.save(TrainingPlace(epoch + 1, losses=tuple(losses)))
    net.eval()
    return FitResult(tuple(losses), total)


@dataclass(slots=True)
class _Saver:
    """Writes checkpoints of a run, and knows when the next one is due.

    Args:
        path, net, optimizer, fingerprint: As ``save_checkpoint`` takes them.
        place: The last one that is saved.
    """

    path: Path
    net: nn.Module
    optimizer: torch.optim.Optimizer
    fingerprint: str
    place: TrainingPlace
    _timer: CheckpointTimer = field(default_factory=CheckpointTimer, init=False)

    def is_due(self) -> bool:
        """Return whether it is time for the next checkpoint."""
        return self._timer.is_due()

    def save(self, place: TrainingPlace) -> None:
        """Write a checkpoint."""
        with self._timer.writing():
            save_checkpoint(self.path, self.net, self.optimizer, place, fingerprint=self.fingerprint)
        self.place = place


@contextmanager
def _interruption(saver: _Saver | None, per_epoch: int) -> Iterator[None]:
    """Say in an interruption how much is kept."""
    try:
        yield
    except KeyboardInterrupt:
        steps = 0 if saver is None else saver.place.epoch * per_epoch + saver.place.step
        raise KeyboardInterrupt(f"{steps:,} steps of training" if steps else "") from None


def _step(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    objective: Objective,
    x: torch.Tensor,
    y: torch.Tensor,
    context: StepContext,
    recipe: Recipe,
) -> float:
    seed_rng(x.device, context.seed)
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate_at(context.fraction_done)
    net.train()
    optimizer.zero_grad(set_to_none=True)
    loss = objective(net, x, y, context)
    value = loss.item()
    if not math.isfinite(value):
        raise ModelError(
            f"the loss is {value} at step {context.step} of {context.total_steps}; "
            f"lower the learning rate ({recipe.learning_rate:g}) or check the model"
        )
    loss.backward()
    optimizer.step()
    return value


@contextmanager
def isolated_rng(device: torch.device) -> Iterator[None]:
    """Restore torch's random generators (CPU and this GPU) on exit."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


def seed_rng(device: torch.device, seed: int) -> None:
    """Seed the generators that ``isolated_rng`` restores, and no others.

    ``torch.manual_seed`` would seed every GPU of the machine.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _fingerprint(
    recipe: Recipe, objective: Objective, data_hash: str, seed: int, net: nn.Module, trainable: Iterable[str]
) -> str:
    tensors = (f"{name} {value.dtype} {tuple(value.shape)}" for name, value in net.state_dict().items())
    parts = (repr(recipe), repr(objective), data_hash, str(seed), repr(net), *tensors, *trainable)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
