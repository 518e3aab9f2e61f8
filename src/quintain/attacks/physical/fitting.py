"""One change for all pictures: ascent on a pattern, over pictures and views together."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from quintain.attacks.meter import Meter
from quintain.attacks.method import require_access
from quintain.attacks.outcome import Model
from quintain.attacks.perturbation import require_target
from quintain.core.errors import DataError, ModelError, SettingError
from quintain.core.progress import Progress
from quintain.core.seeds import derive
from quintain.data.dataset import Dataset
from quintain.data.values import Labels
from quintain.losses.cross_entropy import log_odds
from quintain.threats.draw import Draw

Show = Callable[[Tensor, Tensor, Draw], Tensor]
"""Pictures (B, C, H, W) that wear a pattern, from the pattern, the pictures and the streams of their views."""

Cost = Callable[[Tensor], Tensor]
"""What a pattern costs, a scalar."""


class Pace(NamedTuple):
    """How a pattern is fitted.

    Args:
        steps: Steps of Adam.
        batch: Pictures a step, each in a view of its own.
        rate: Length of the first step, in the units of the data; it falls to 0 as a cosine.
    """

    steps: int
    batch: int
    rate: float

    def check(self) -> None:
        """Refuse a pace that leads nowhere.

        Raises:
            SettingError: If a number is not positive.
        """
        if min(self.steps, self.batch) < 1 or not self.rate > 0:
            raise SettingError(f"steps = {self.steps}, batch = {self.batch}, rate = {self.rate}; expected positive numbers")


@torch.inference_mode(False)
@torch.enable_grad()
def fit_pattern(
    model: Model,
    data: Dataset,
    start: Tensor,
    show: Show,
    *,
    name: str,
    target: int | None,
    pace: Pace,
    seed: int,
    progress: Progress,
    lowest: float = 0.0,
    highest: float = 1.0,
    cost: Cost | None = None,
) -> Tensor:
    r"""The pattern that makes the model say the target, or anything but the truth, over pictures and views.

    .. math:: \max_{s \in [low, high]^n} \; E_{x, T}\, \log p_t\big(f(show(s, x, T))\big) - cost(s)

    without a target :math:`\log(1 - p_y)`. The pattern is clamped after each step. Memory does not grow with the pictures, nor with
    the steps; no weight gets a gradient.

    Args:
        model: Gives logits (B, K), with gradients.
        data: Pictures to fit on; read a batch at a time.
        start: The pattern to start from.
        show: Puts a pattern on pictures.
        name: Of the attack, in messages and on the bar.
        target: The class to be answered; any wrong one if not given.
        seed: Of the order of pictures and of the views.
        lowest, highest: The pattern's box.

    Raises:
        ModelError: If the model gives no gradients, or none that are finite.
        SettingError: If the target is none of the classes.
        DataError: If all pictures are of the target class.
    """
    pace.check()
    require_access(name, "gradients", model)
    pool = worth_showing(data, target, name)
    pattern = start.detach().clone().requires_grad_()
    adam = torch.optim.Adam([pattern], lr=pace.rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, pace.steps)
    views, order = derive(seed, name, "views"), shuffled(pool, pace.batch, derive(seed, name, "pictures"))
    with progress.loop(name, pace.steps) as done:
        for step in range(pace.steps):
            x, y = (tensor.to(start.device) for tensor in data.batch(next(order)))
            draw = Draw(views, step * pace.batch + torch.arange(pace.batch))
            pattern.grad = -ascent(model, x, y, target, pattern, show, draw)
            if cost is not None:
                pattern.grad += torch.autograd.grad(cost(pattern), pattern)[0]
            adam.step()
            falling.step()
            with torch.no_grad():
                pattern.clamp_(lowest, highest)
            done(1)
    return pattern.detach()


def ascent(model: Model, x: Tensor, y: Tensor, target: int | None, pattern: Tensor, show: Show, draw: Draw) -> Tensor:
    """The gradient, of the shape of the pattern, of the mean log probability of what is wanted.

    Raises:
        ModelError: If it is not finite.
    """

    def loss(logits: Tensor, rows: Tensor) -> Tensor:
        return wanted(logits, y, target) / len(rows)

    gradient = Meter(model, y).slope(pattern, torch.arange(len(x), device=x.device), loss, lambda s: show(s, x, draw))[2]
    if not gradient.isfinite().all():
        raise ModelError(
            "the model's gradient is not finite on some of the pictures; expected finite logits: look with quintain.models.check_model"
        )
    return gradient


def wanted(logits: Tensor, y: Tensor, target: int | None) -> Tensor:
    r"""Log probability of what is wanted (B,), without underflow: :math:`\log p_t`, or :math:`\log(1 - p_y)` without a target."""
    odds = log_odds(logits, y) if target is None else -log_odds(logits, torch.full_like(y, target))
    return functional.logsigmoid(odds)


def pictures(data: Dataset) -> tuple[int, int, int]:
    """Channels, height and width of a data set of pictures.

    Raises:
        DataError: If it holds none.
    """
    if len(data.shape) != 3:
        raise DataError(f"{data.name} has samples of shape {data.shape}; expected pictures (C, H, W): nothing can be stuck on others")
    channels, height, width = data.shape
    return channels, height, width


def worth_showing(data: Dataset, target: int | None, name: str) -> Labels:
    """The places of the pictures that are not of the target class already.

    Raises:
        SettingError: If the target is none of the classes.
        DataError: If no picture is left.
    """
    require_target(data, target)
    if target is None:
        return np.arange(len(data))
    places = np.flatnonzero(data.labels != target)
    if not len(places):
        raise DataError(f"all {len(data)} pictures of {data.name} are of class {target}, the target of {name}; add pictures of others")
    return places


def shuffled(places: Labels, batch: int, seed: int) -> Iterator[Labels]:
    """Batches without end: all places in a random order, then again in another."""
    held, turn = places[:0], 0
    while True:
        while len(held) < batch:
            held = np.concatenate((held, np.random.default_rng((seed, turn)).permutation(places)))
            turn += 1
        yield held[:batch]
        held = held[batch:]
