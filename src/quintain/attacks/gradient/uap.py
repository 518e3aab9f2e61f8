"""One change that fools a model on most pictures."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from quintain.attacks.method import require_access, serving
from quintain.attacks.outcome import Model
from quintain.attacks.perturbation import seen_in
from quintain.attacks.physical.fitting import Show, ascent, shuffled, worth_showing
from quintain.attacks.step import check_steps, lengths
from quintain.core.errors import DataError, SettingError
from quintain.core.limits import at_least
from quintain.core.progress import Progress, silent
from quintain.core.seeds import derive
from quintain.core.tokens import kind_of
from quintain.data.dataset import Dataset
from quintain.threats.ball import Ball
from quintain.threats.draw import Draw


@dataclass(frozen=True, slots=True, eq=False)
class Universal:
    r"""One change for all pictures: :math:`\Pi_x(x + \delta)`, inside the threat exactly.

    Args:
        change: :math:`\delta` (*S).
        threat: What it keeps to.
        fitted_on: The examples that it was fitted on.
    """

    change: Tensor
    threat: Ball
    fitted_on: frozenset[str] = frozenset()

    def apply(self, x: Tensor, ids: Tensor | None = None, *, seed: int = 0) -> Tensor:  # noqa: ARG002
        """The changed pictures (B, *S); nothing about them is random.

        Raises:
            DataError: If the pictures are of another shape.
        """
        if x.shape[1:] != self.change.shape:
            raise DataError(
                f"pictures of shape {tuple(x.shape)} for a change {tuple(self.change.shape)}; expected those that it was fitted on"
            )
        return self.threat.project(x + self.change.to(x), x)

    def random(self, seed: int = 0) -> Self:
        """The control of the same size: in Linf, ``eps`` up or down at each coordinate; in L2, a random direction."""
        noise = Draw(derive(seed, "random change"), torch.zeros(1, dtype=torch.long)).normal(self.change[None])
        return replace(self, change=self.threat.ascend(noise, self.threat.eps)[0], fitted_on=frozenset())


@dataclass(frozen=True, slots=True)
class UAP:
    r"""Ascent on one change over small batches of pictures.

    .. math:: \max_{\delta \in ball(0)} \; E_{x, y} \log\big(1 - p_y(f(\Pi_x(x + \delta)))\big), \quad
        \text{with a target } E_x \log p_t

    Neither aim gains much by a picture that is fooled already, so that none outweighs the others. Each step is the steepest in the ball
    along a batch's mean gradient, of a length that falls to nearly 0.

    Args:
        steps: Batches, all in all.
        batch: Pictures a step.
        rate: Length of the first step, as a share of ``eps``.

    Raises:
        SettingError: If a setting is out of range.

    Guarantee:
        Applied, it is inside the threat. How often it works is an estimate, from the pictures that it is scored on.

    Source: Moosavi-Dezfooli et al., 2017, arXiv:1610.08401, for the aim; Shafahi et al., 2020, arXiv:1811.11304, for the ascent.
    """

    name: ClassVar[str] = "uap"
    serves: ClassVar[tuple[str, ...]] = ("linf", "l2", "mask")

    steps: int = 200
    batch: int = 64
    rate: float = 0.5

    def __post_init__(self) -> None:
        check_steps(self.steps, self.rate)
        at_least(1, batch=self.batch)

    @torch.inference_mode(False)
    @torch.no_grad()
    def fit(
        self, model: Model, data: Dataset, threat: Ball, *, seed: int = 0, target: int | None = None, progress: Progress = silent
    ) -> Universal:
        """The change for some pictures, to be scored on others.

        Args:
            model: Gives logits (B, K), with gradients.
            data: The pictures; those of the target class are left out.
            threat: What may be changed.
            seed: Of the pictures' order.
            target: The class to be answered; any wrong one if not given.
            progress: Told of each step.

        Raises:
            SettingError: If the threat is none that it serves, or the target no class.
            ModelError: If the model gives no finite gradients.
            DataError: If all pictures are of the target class.
        """
        kind = kind_of(threat.token)
        if kind not in self.serves:
            raise SettingError(
                f"{self.name} cannot keep to {threat.token}; it serves {', '.join(self.serves)}. "
                f"Attacks on one picture each: {serving(kind)}"
            )
        require_access(self.name, "gradients", model)
        order = shuffled(worth_showing(data, target, self.name), self.batch, derive(seed, self.name))
        change = torch.zeros(data.shape)
        with progress.loop(self.name, self.steps) as done:
            for length in lengths(threat.eps, self.steps, self.rate):
                x, y = data.batch(next(order))
                gradient = ascent(model, x, y, target, change, worn(threat), Draw(seed, torch.zeros_like(y)))
                change = within(threat, change + threat.ascend(gradient[None], length)[0])
                done(1)
        return Universal(change, threat, seen_in(data))


def worn(threat: Ball) -> Show:
    """How a change is put on pictures; its gradient is that at the pictures, as if none were held back by box or ball."""

    def show(change: Tensor, x: Tensor, draw: Draw) -> Tensor:  # noqa: ARG001
        z = x + change
        return z + (threat.project(z, x) - z).detach()

    return show


def within(threat: Ball, change: Tensor) -> Tensor:
    """The change (*S) nearest to one, of those that some picture allows."""
    span = threat.high - threat.low
    wide = replace(threat, low=-span, high=span)  # type: ignore[type-var]
    return wide.project(change[None], torch.zeros_like(change)[None])[0]
