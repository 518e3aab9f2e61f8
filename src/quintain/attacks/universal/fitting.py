"""Fit one pattern for all images by gradient ascent over images and views."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from quintain.attacks.base import check_access
from quintain.attacks.counted_model import CountedModel
from quintain.attacks.outcome import Model
from quintain.attacks.perturbation import check_target
from quintain.core.errors import DataError, ModelError, SettingError
from quintain.core.progress import Progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.data.values import Labels
from quintain.losses.cross_entropy import log_odds
from quintain.models.devices import device_of, search_device
from quintain.models.loop_checkpoints import Checkpoints, no_checkpoints
from quintain.threats.rng import ExampleRNG

ApplyPattern = Callable[[Tensor, Tensor, ExampleRNG], Tensor]
"""Images (B, C, H, W) that wear a pattern, from the pattern, the images and the streams of their views."""

Penalty = Callable[[Tensor], Tensor]
"""What a pattern costs, a scalar."""

ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")
"""What Adam remembers of a tensor."""


class FitSettings(NamedTuple):
    """How a pattern is fitted.

    Args:
        steps: Steps of Adam.
        batch_size: Images a step, each in a view of its own.
        learning_rate: Length of the first step, in the units of the data; it falls to 0 as a cosine.
    """

    steps: int
    batch_size: int
    learning_rate: float

    def check(self) -> None:
        """Raise if a number is not positive.

        Raises:
            SettingError: If a number is not positive.
        """
        if min(self.steps, self.batch_size) < 1 or not self.learning_rate > 0:
            raise SettingError(
                f"steps = {self.steps}, batch_size = {self.batch_size}, learning_rate = "
                f"{self.learning_rate}; expected positive numbers"
            )


@torch.inference_mode(False)
@torch.enable_grad()
def fit_pattern(
    model: Model,
    data: Dataset,
    init: Tensor,
    apply_pattern: ApplyPattern,
    *,
    name: str,
    target: int | None,
    settings: FitSettings,
    seed: int,
    progress: Progress,
    low: float = 0.0,
    high: float = 1.0,
    penalty: Penalty | None = None,
    checkpoints: Checkpoints = no_checkpoints,
) -> Tensor:
    r"""Return the pattern that makes the model say the target, or anything but the truth.

    The objective is the mean over images and views.

    .. math:: \max_{s \in [low, high]^n} \; E_{x, T}\, \log p_t\big(f(show(s, x, T))\big) - cost(s)

    without a target :math:`\log(1 - p_y)`. The pattern is clamped after each step. Memory does not grow with
    the images, nor with the steps; no weight gets a gradient.

    Args:
        model: Gives logits (B, K), with gradients.
        data: Images to fit on; read a batch at a time.
        init: The pattern to start from.
        apply_pattern: Puts a pattern on images.
        name: Of the attack, in messages and on the bar.
        target: The class to be answered; any wrong one if not given.
        seed: Of the order of images and of the views.
        low, high: The pattern's box.
        checkpoints: Keeps the pattern and the state of Adam on the way; a fit that is resumed ends with the
            same pattern.

    Raises:
        ModelError: If the model gives no gradients, or none that are finite.
        SettingError: If the target is none of the classes.
        DataError: If all images are of the target class.
    """
    settings.check()
    check_access(name, "gradients", model)
    pool = rows_to_fit(data, target, name)
    device = search_device(device_of(model))
    pattern = init.detach().clone().requires_grad_()
    adam = torch.optim.Adam([pattern], lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, settings.steps)
    views, order = (
        derive_seed(seed, name, "views"),
        shuffled_batches(pool, settings.batch_size, derive_seed(seed, name, "pictures")),
    )
    kept = checkpoints.loop(name)
    if kept.step:
        pattern.data = kept.state["pattern"].to(pattern)
        # The schedule computes each rate from the last one.
        adam.param_groups[0]["lr"] = kept.state["rate"].item()
        schedule.last_epoch = kept.step
        adam.state[pattern] = {key: kept.state[key] for key in ADAM_STATE}

    def state() -> dict[str, Tensor]:
        rate = torch.tensor(adam.param_groups[0]["lr"], dtype=torch.float64)
        return {"pattern": pattern, "rate": rate, **{key: adam.state[pattern][key] for key in ADAM_STATE}}

    with progress.bar(name, settings.steps) as done:
        done(kept.step)
        for step in range(settings.steps):
            rows = next(order)
            if step < kept.step:
                continue
            x, y = (tensor.to(device) for tensor in data.batch(rows))
            # Adam on the mean log probability over a batch, each image in a view of its own; clamp to the
            # pattern's box.
            rng = ExampleRNG(views, step * settings.batch_size + torch.arange(settings.batch_size))
            pattern.grad = -pattern_gradient(model, x, y, target, pattern, apply_pattern, rng)
            if penalty is not None:
                pattern.grad += torch.autograd.grad(penalty(pattern), pattern)[0]
            adam.step()
            schedule.step()
            with torch.no_grad():
                pattern.clamp_(low, high)
            done(1)
            kept.offer(step + 1, settings.steps, state)
    return pattern.detach()


def pattern_gradient(
    model: Model,
    x: Tensor,
    y: Tensor,
    target: int | None,
    pattern: Tensor,
    apply_pattern: ApplyPattern,
    rng: ExampleRNG,
) -> Tensor:
    """Return the gradient, of the shape of the pattern, of the mean log probability of what is wanted.

    Raises:
        ModelError: If it is not finite.
    """

    def loss(logits: Tensor, rows: Tensor) -> Tensor:
        return goal_log_probability(logits, y, target) / len(rows)

    gradient = CountedModel(model, y).value_and_grad(
        pattern, torch.arange(len(x), device=x.device), loss, lambda s: apply_pattern(s, x, rng)
    )[2]
    if not gradient.isfinite().all():
        raise ModelError(
            "the model's gradient is not finite on some of the images; expected finite logits: look with "
            "quintain.models.check_model"
        )
    return gradient


def goal_log_probability(logits: Tensor, y: Tensor, target: int | None) -> Tensor:
    r"""Return the log probability of the goal (B,), without underflow.

    It is :math:`\log p_t`, or :math:`\log(1 - p_y)` without a target.
    """
    odds = log_odds(logits, y) if target is None else -log_odds(logits, torch.full_like(y, target))
    return functional.logsigmoid(odds)


def image_shape(data: Dataset) -> tuple[int, int, int]:
    """Return channels, height and width of a data set of images.

    Raises:
        DataError: If it holds none.
    """
    if len(data.shape) != 3:
        raise DataError(
            f"{data.name} has samples of shape {data.shape}; expected images (C, H, W): nothing can be stuck "
            "on others"
        )
    channels, height, width = data.shape
    return channels, height, width


def rows_to_fit(data: Dataset, target: int | None, name: str) -> Labels:
    """Return the places of the images that are not of the target class already.

    Raises:
        SettingError: If the target is none of the classes.
        DataError: If no image is left.
    """
    check_target(data, target)
    if target is None:
        return np.arange(len(data))
    rows = np.flatnonzero(data.labels != target)
    if not len(rows):
        raise DataError(
            f"all {len(data)} images of {data.name} are of class {target}, the target of {name}; add images "
            "of others"
        )
    return rows


def shuffled_batches(rows: Labels, batch_size: int, seed: int) -> Iterator[Labels]:
    """Yield batches without end: all places in a random order, then again in another."""
    waiting, epoch = rows[:0], 0
    while True:
        while len(waiting) < batch_size:
            waiting = np.concatenate((waiting, np.random.default_rng((seed, epoch)).permutation(rows)))
            epoch += 1
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]
