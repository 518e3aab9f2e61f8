"""Auto conjugate gradient."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from quintain.attacks.gradient.apgd import APGD, LENGTH, on_face, stepped
from quintain.attacks.gradient.points import chosen
from quintain.attacks.gradient.schedule import Pace, checkpoints, first_pace, paced
from quintain.attacks.loop import climb
from quintain.attacks.method import Method
from quintain.attacks.search import Answer, Search
from quintain.threats.ball import Room
from quintain.threats.columns import column
from quintain.threats.draw import Draw


class Conjugate(NamedTuple):
    """Next points ``z``, the last gradient and direction, each example's highest point and the gradient there; then its pace."""

    z: Tensor
    gradient: Tensor
    direction: Tensor
    top: Tensor
    slope: Tensor
    length: Tensor
    value: Tensor
    rises: Tensor
    best: Tensor
    before: Tensor
    halved: Tensor
    ground: Tensor


@dataclass(frozen=True, slots=True)
class ACG(Method):
    r"""Ascent along conjugate directions, with the step lengths of APGD; it ends in other places than steepest ascent does.

    .. math:: s_k = g_k + \beta_k s_{k-1}, \quad
        \beta_k = \frac{\langle -g_k, g_k - g_{k-1} \rangle}{\langle s_{k-1}, g_k - g_{k-1} \rangle}, \quad
        z_{k+1} = \Pi_x\big(z_k + \alpha\, s(s_k)\big)

    Where an example's step is halved, it goes back to its best point and starts anew along the gradient there.

    Args:
        steps: Gradients per example and restart; a broken example stops paying.
        restarts: How many random points to start from.
        loss: What is ascended: ``margin``, ``ce``, ``dlr`` or ``probability``.

    Raises:
        SettingError: If a setting is not positive, or there is no such loss.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Yamamura et al., 2022, arXiv:2206.09628.
    """

    name: ClassVar[str] = "acg"

    steps: int = 100
    restarts: int = 1
    loss: str = "margin"

    def __post_init__(self) -> None:
        APGD(self.steps, self.restarts, self.loss)

    def pursue(self, search: Search) -> None:
        """Climb from each start."""
        looks = checkpoints(self.steps)

        def start(clean: Tensor, draw: Draw, room: Room) -> Conjugate:
            z = on_face(search.threat, clean, draw, room)
            none = torch.zeros_like(z)
            return Conjugate(z, none, none, z, none, *first_pace(len(z), clean, LENGTH))

        def rule(step: int, state: Conjugate, answer: Answer, clean: Tensor, room: Room) -> Conjugate:
            gradient = answer.gradient.nan_to_num(0.0, 0.0, 0.0)
            better = answer.values > state.best
            top, slope = chosen(better, state.z, state.top), chosen(better, gradient, state.slope)
            pace, halve = paced(Pace(*state[5:]), answer.values, step, looks.get(step))
            z, direction = state.z, gradient + column(turn(gradient, state.gradient, state.direction), gradient) * state.direction
            if halve is not None:
                z, gradient, direction = chosen(halve, top, z), chosen(halve, slope, gradient), chosen(halve, slope, direction)
            move = stepped(search.threat, z, direction, pace.length, clean, room)
            return Conjugate(move, gradient, direction, top, slope, *pace)

        loss = search.goal.loss(self.loss)
        for restart in range(self.restarts):
            climb(search, draw=search.draw.at(restart), start=start, rule=rule, steps=self.steps, loss=loss)


def turn(gradient: Tensor, before: Tensor, direction: Tensor) -> Tensor:
    """How much of the last direction is kept (n,), as Hestenes and Stiefel weigh it; none where that is not finite."""
    change = (gradient - before).flatten(1)
    weight = -(gradient.flatten(1) * change).sum(1) / (direction.flatten(1) * change).sum(1)
    return weight.nan_to_num(0.0, 0.0, 0.0)
