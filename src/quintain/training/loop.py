"""The one training loop: clean, adversarial, certified and local training are this loop with another loss."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from quintain.core.errors import DivergedError, ModelError, SettingError
from quintain.core.progress import CheckpointTimer, Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.models.memory import keep_freed_memory
from quintain.training.checkpoint import TrainingPlace, load_checkpoint, save_checkpoint
from quintain.training.kept_weights import KeptWeights, Validation, ValidationPoint
from quintain.training.objective import CleanCrossEntropy, Objective, StepContext
from quintain.training.recipe import Recipe
from quintain.training.shard import Shard, require_shardable

if TYPE_CHECKING:
    from quintain.data.dataset import Dataset


CLEAN_CROSS_ENTROPY = CleanCrossEntropy()


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a training run did.

    Args:
        losses: Mean loss of each epoch.
        steps: Steps taken, those before a resumption included.
        points: What the looks at the net found, in order.
        best: The look whose weights the net has, where it has those instead of the last.
        stopped: Why training ended early, in words; empty where it did not.
        last: The last weights, where the net has others.
    """

    losses: tuple[float, ...]
    steps: int
    points: tuple[ValidationPoint, ...] = ()
    best: ValidationPoint | None = None
    stopped: str = ""
    last: Mapping[str, torch.Tensor] | None = field(default=None, compare=False, repr=False)


def fit(
    net: nn.Module,
    data: "Dataset",
    recipe: Recipe,
    *,
    objective: Objective = CLEAN_CROSS_ENTROPY,
    seed: int = 0,
    checkpoint: Path | None = None,
    ema_decay: float = 0.0,
    max_grad_norm: float = math.inf,
    validation: Validation | None = None,
    process_group: torch.distributed.ProcessGroup | None = None,
    progress: Progress = no_progress,
    progress_label: str = "train",
) -> FitResult:
    """Train ``net`` in place and leave it in evaluation mode.

    All random numbers, those of the order of the examples and of dropout included, follow from ``seed`` and
    the step. A run that was interrupted and resumed from its checkpoint therefore ends with the same weights
    as one that was not: bit for bit on the same machine, with as many threads and the same libraries; up to
    rounding elsewhere. Where the net has batch norms, a last batch of one example is left out of each epoch.

    Several processes, as ``torchrun`` starts them, train as one: each takes its shard of every batch, and
    gradients are averaged over all examples. Weights are those of one process up to rounding, where the loss
    is a mean over examples and the net has no dropout, whose masks differ. The first process alone writes
    the checkpoint, which all read.

    Args:
        net: Takes (B, *S) in [0, 1], gives logits (B, K).
        data: Training examples.
        recipe: Epochs, batch size, optimizer.
        objective: The loss of a step.
        seed: Of the whole run.
        checkpoint: File that is written about every ten seconds and at the end and, where it exists,
            resumed from; its weights then replace those of ``net``.
        ema_decay: Where positive, the net ends with the moving average of its weights and of the statistics
            of batch norms, with this decay; looks are at the average, too.
        max_grad_norm: Longer gradients are scaled down to this L2 norm.
        validation: Looks at the net on the way; it may stop the run, and have it end with the best weights.
        process_group: Processes that train together, such as ``torch.distributed.group.WORLD``; each is
            called with the same arguments.
        progress: Shows a bar of steps.
        progress_label: The bar's name.

    Raises:
        ModelError: If nothing in the net can be trained; if the loss is no finite number: as
            ``DivergedError`` where the net has the best weights, if ``validation`` saw some, or those after
            the last whole epoch.
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
    keep_freed_memory()
    shard = Shard.of(process_group)
    require_shardable(net, shard)
    optimizer = recipe.build_optimizer(trainable.values())
    needs_pairs = any(isinstance(module, _BatchNorm) for module in net.modules())
    per_epoch = math.ceil(len(data) / recipe.batch_size)
    total = per_epoch * recipe.epochs
    beside = _settings_beside(ema_decay, max_grad_norm, validation)
    fingerprint = (
        _fingerprint(recipe, objective, data.hash, seed, net, trainable, beside) if checkpoint else ""
    )
    kept, place = KeptWeights(net, ema_decay, validation), TrainingPlace()
    if checkpoint is not None and checkpoint.exists():
        place = load_checkpoint(checkpoint, net, optimizer, fingerprint=fingerprint)
        kept.load(place.kept_words, place.kept_tensors, place.epoch * per_epoch + place.step)
    shard.wait()  # none writes before all have read
    saver = (
        None
        if checkpoint is None or shard.rank
        else _Saver(checkpoint, net, optimizer, fingerprint, place, kept=kept)
    )
    losses, steps = list(place.losses), place.epoch * per_epoch + place.step
    with (
        progress.bar(progress_label, total) as advance,
        isolated_rng(device),
        _interruption(saver, per_epoch),
    ):
        advance(steps)
        # Order and step seeds follow from (seed, epoch, step): a resumed run repeats them without stored
        # generator states.
        for epoch in range(place.epoch, recipe.epochs):
            if kept.stopped:
                break
            order = np.random.default_rng(derive_seed(seed, "order", epoch)).permutation(len(data))
            first, running = (place.step, place.running_loss) if epoch == place.epoch else (0, 0.0)
            for index in range(first, per_epoch):
                ids = order[index * recipe.batch_size : (index + 1) * recipe.batch_size]
                step = epoch * per_epoch + index
                if len(ids) > 1 or not needs_pairs:
                    mine = ids[shard.rows(len(ids)).numpy()]
                    context = StepContext(
                        step=step,
                        total_steps=total,
                        epoch=epoch,
                        total_epochs=recipe.epochs,
                        seed=derive_seed(seed, "step", step),
                        ids=torch.from_numpy(mine),
                        batch_size=len(ids),
                        shard=shard,
                    )
                    running += len(ids) * _step(
                        net, optimizer, objective, data, context, recipe, max_grad_norm, kept
                    )
                    kept.average()
                steps = step + 1
                advance(1)
                if not kept.look(steps, per_epoch):
                    break
                if saver is not None and index + 1 < per_epoch and saver.is_due():
                    saver.save(TrainingPlace(epoch, index + 1, running, tuple(losses)))
            examples = min(len(data), (steps - epoch * per_epoch) * recipe.batch_size)
            losses.append(running / (examples if kept.stopped else len(data)))
            if epoch + 1 < recipe.epochs:
                kept.after_epoch(steps)
            if saver is not None and (epoch + 1 == recipe.epochs or kept.stopped or saver.is_due()):
                saver.save(TrainingPlace(epoch + 1, losses=tuple(losses)))
    _require_finite(kept, recipe)
    last = kept.finish()
    net.eval()
    shard.wait()  # the checkpoint is there when any process goes on
    return FitResult(
        losses=tuple(losses),
        steps=steps if kept.stopped else total,
        points=kept.points,
        best=None if last is None else kept.best_point,
        stopped=kept.stopped,
        last=last,
    )


@dataclass(slots=True)
class _Saver:
    """Writes checkpoints of a run, and knows when the next one is due.

    Args:
        path, net, optimizer, fingerprint: As ``save_checkpoint`` takes them.
        place: The last one that is saved.
        kept: Weights beside those of the net.
    """

    path: Path
    net: nn.Module
    optimizer: torch.optim.Optimizer
    fingerprint: str
    place: TrainingPlace
    kept: KeptWeights | None = None
    _timer: CheckpointTimer = field(default_factory=CheckpointTimer, init=False)

    def is_due(self) -> bool:
        """Return whether it is time for the next checkpoint."""
        return self._timer.is_due()

    def save(self, place: TrainingPlace) -> None:
        """Write a checkpoint."""
        if self.kept is not None:
            place = place._replace(kept_words=self.kept.words(), kept_tensors=self.kept.tensors())
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
    data: "Dataset",
    context: StepContext,
    recipe: Recipe,
    max_grad_norm: float,
    kept: KeptWeights,
) -> float:
    """Take one step, and return the mean loss of the batch."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    x, y = (values.to(parameters[0].device) for values in data.batch(context.ids.numpy()))
    # dropout of the first process alone is that of a run of one
    seed_rng(x.device, derive_seed(context.seed, context.shard.rank) if context.shard.rank else context.seed)
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate_at(context.fraction_done)
    net.train()
    optimizer.zero_grad(set_to_none=True)
    loss = objective(net, x, y, context)
    value = loss.detach().double().cpu()
    context.average([value])
    if not math.isfinite(value):
        back = kept.restore_last_good()
        text = (
            f"the loss is {value.item()} at step {context.step} of {context.total_steps}; "
            f"lower the learning rate ({recipe.learning_rate:g}) or check the model"
        )
        raise (
            DivergedError(f"{text}. The net has weights of before again: {back}")
            if back
            else ModelError(text)
        )
    loss.backward()
    if context.shard.size > 1:
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        context.average([parameter.grad for parameter in parameters])
    if math.isfinite(max_grad_norm):
        nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    optimizer.step()
    return value.item()


def _require_finite(kept: KeptWeights, recipe: Recipe) -> None:
    """Raise after a last step that made weights no numbers, if there are others; the net has those then."""
    if not kept.is_finite() and (back := kept.restore_last_good()):
        raise DivergedError(
            "weights are no finite numbers after the last step; lower the learning rate "
            f"({recipe.learning_rate:g}). The net has weights of before again: {back}"
        )


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


def _settings_beside(ema_decay: float, max_grad_norm: float, validation: Validation | None) -> list[str]:
    """Return the settings of a run beside its recipe, as far as they change it, in words."""
    if not (max_grad_norm > 0):
        raise SettingError(f"max_grad_norm = {max_grad_norm}; expected a positive number, such as 10")
    return [
        *([f"ema {ema_decay!r}"] if ema_decay else []),
        *([f"gradient norm {max_grad_norm!r}"] if math.isfinite(max_grad_norm) else []),
        *([repr(validation)] if validation else []),
    ]


def _fingerprint(
    recipe: Recipe,
    objective: Objective,
    data_hash: str,
    seed: int,
    net: nn.Module,
    trainable: Iterable[str],
    beside: Iterable[str],
) -> str:
    tensors = (f"{name} {value.dtype} {tuple(value.shape)}" for name, value in net.state_dict().items())
    parts = (repr(recipe), repr(objective), data_hash, str(seed), repr(net), *tensors, *trainable, *beside)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
