"""The one training loop: plain, adversarial, certified and local training are this loop with another objective."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from quintain.core.errors import ModelError
from quintain.core.progress import Progress, silent
from quintain.core.seeds import derive
from quintain.training.checkpoint import load_checkpoint, save_checkpoint
from quintain.training.objective import Moment, Objective, Plain
from quintain.training.recipe import Recipe

if TYPE_CHECKING:
    from quintain.data.dataset import Dataset


PLAIN = Plain()


@dataclass(frozen=True, slots=True)
class Fitted:
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
    objective: Objective = PLAIN,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Progress = silent,
    label: str = "train",
) -> Fitted:
    """Train ``net`` in place and leave it in evaluation mode.

    Every draw, the order of the examples and dropout included, follows from ``seed`` and the step, so that a
    run which was cut off and goes on from its checkpoint ends with the same weights as one that was not: bit
    for bit on the same machine, with as many threads and the same libraries; up to rounding elsewhere.

    Args:
        net: Takes (B, *S) in [0, 1], gives logits (B, K).
        data: Training examples.
        recipe: Epochs, batch, optimiser.
        objective: The loss of a step.
        seed: Of the whole run.
        checkpoint: File that is written after each epoch and, where it exists, gone on from; the weights of ``net`` then give way to its.
        progress: Shows a bar of steps.
        label: The bar's name.

    Raises:
        ModelError: If nothing in the net can be trained, or the loss is no finite number.
        RunFolderError: If the checkpoint belongs to another run: other data, settings, seed or net.
    """
    trained = {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}
    if not trained:
        raise ModelError(f"{type(net).__name__} has no trainable parameters; expected some: set requires_grad on those to train")
    device = next(iter(trained.values())).device
    optimizer = recipe.build(trained.values())
    per_epoch = math.ceil(len(data) / recipe.batch)
    total = per_epoch * recipe.epochs
    run = _fingerprint(recipe, objective, data.hash, seed, net, trained) if checkpoint else ""
    done, losses = 0, list[float]()
    if checkpoint is not None and checkpoint.exists():
        done, losses = load_checkpoint(checkpoint, net, optimizer, fingerprint=run)
    with progress.loop(label, total) as advance, own_draws(device):
        advance(done * per_epoch)
        for epoch in range(done, recipe.epochs):
            order = np.random.default_rng(derive(seed, "order", epoch)).permutation(len(data))
            running = 0.0
            for index in range(per_epoch):
                ids = order[index * recipe.batch : (index + 1) * recipe.batch]
                step = epoch * per_epoch + index
                moment = Moment(step, total, epoch, recipe.epochs, derive(seed, "step", step), torch.from_numpy(ids))
                x, y = data.batch(ids)
                running += _step(net, optimizer, objective, x.to(device), y.to(device), moment, recipe) * len(ids)
                advance(1)
            losses.append(running / len(data))
            if checkpoint is not None:
                save_checkpoint(checkpoint, net, optimizer, epoch=epoch + 1, losses=losses, fingerprint=run)
    net.eval()
    return Fitted(tuple(losses), total)


def _step(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    objective: Objective,
    x: torch.Tensor,
    y: torch.Tensor,
    moment: Moment,
    recipe: Recipe,
) -> float:
    seed_draws(x.device, moment.seed)
    for group in optimizer.param_groups:
        group["lr"] = recipe.rate_at(moment.share)
    net.train()
    optimizer.zero_grad(set_to_none=True)
    loss = objective(net, x, y, moment)
    value = loss.item()
    if not math.isfinite(value):
        raise ModelError(
            f"the loss is {value} at step {moment.step} of {moment.steps}; lower the rate ({recipe.rate:g}) or check the model"
        )
    loss.backward()
    optimizer.step()
    return value


@contextmanager
def own_draws(device: torch.device) -> Iterator[None]:
    """Restore the generators of the CPU and of this device afterwards, which dropout and the like use."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


def seed_draws(device: torch.device, seed: int) -> None:
    """Seed the generators that ``own_draws`` puts back and no others: ``torch.manual_seed`` would seed every GPU of the machine."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _fingerprint(recipe: Recipe, objective: Objective, data_hash: str, seed: int, net: nn.Module, trained: Iterable[str]) -> str:
    tensors = (f"{name} {value.dtype} {tuple(value.shape)}" for name, value in net.state_dict().items())
    parts = (repr(recipe), repr(objective), data_hash, str(seed), repr(net), *tensors, *trained)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
