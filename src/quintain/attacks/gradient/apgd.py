"""Auto-PGD: projected gradient ascent that sets its own step length."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from quintain.attacks.goal import Loss
from quintain.attacks.gradient.apgd_l1 import climb_l1
from quintain.attacks.gradient.points import chosen
from quintain.attacks.gradient.schedule import Pace, checkpoints, first_pace, paced
from quintain.attacks.hope import check_hope, hopeful
from quintain.attacks.loop import climb
from quintain.attacks.method import Method
from quintain.attacks.search import Answer, Search
from quintain.core.errors import SettingError
from quintain.core.limits import at_least
from quintain.core.tokens import kind_of
from quintain.threats.ball import Ball, Room
from quintain.threats.columns import column
from quintain.threats.draw import Draw
from quintain.threats.family import Family

MOMENTUM = 0.25
"""The share of the last move that is made once more."""

LENGTH = 2.0
"""Length of the first steps, as a share of ``eps``."""


class Ascent(NamedTuple):
    """Next points ``z``, the ones before, each example's highest point and the gradient there; then its pace."""

    z: Tensor
    last: Tensor
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
class APGD(Method):
    r"""Projected gradient ascent with momentum, whose steps are halved where they no longer help.

    .. math:: u = \Pi_x\big(z_k + \alpha s(\nabla \ell(z_k))\big), \quad
        z_{k+1} = \Pi_x\big(z_k + 0.75 (u - z_k) + 0.25 (z_k - z_{k-1})\big)

    from a random point on the face of the threat, with :math:`s` its steepest step and :math:`\alpha = 2 \varepsilon` at first. At
    checkpoints that lie closer and closer, an example whose loss rose too seldom, or whose best loss stood still, halves its step and
    goes back to its best point, with the gradient that was found there and without momentum. In L1 it is ``climb_l1``, another rule.

    With ``targets``, it climbs towards one wrong class after the other, in the order of their clean logits: guides, since any wrong
    class counts as broken, and where the classes to be answered are given, one climb towards those.

    Args:
        steps: Gradients per example, restart and guide; a broken example stops paying.
        restarts: How many random points to start from, for each guide.
        loss: What is ascended: ``ce``, ``margin``, ``dlr`` or ``probability``; for guides ``margin`` or ``dlr``.
        targets: How many wrong classes guide it, at most K - 1; 0 for the loss of all classes together.
        hope: At each checkpoint a climb is given up whose loss would stay below 0 even if it rose ``hope`` times as fast as on average
            so far; without end if not given, as published. Climbs slow down, so that 1 spares more than half of the gradients and
            hardly ever a break.

    Raises:
        SettingError: If a setting is out of range.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Croce and Hein, 2020, arXiv:2003.01690.
    """

    name: ClassVar[str] = "apgd"
    serves: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    steps: int = 100
    restarts: int = 1
    loss: str = "ce"
    targets: int = 0
    hope: float = math.inf

    def __post_init__(self) -> None:
        at_least(1, steps=self.steps, restarts=self.restarts)
        at_least(0, targets=self.targets)
        check_hope(self.hope)
        if self.targets and self.loss not in ("margin", "dlr"):
            raise SettingError(f"loss = {self.loss!r} with targets; expected margin or dlr, which are defined between two classes")

    @property
    def label(self) -> str:
        """Its name and what it follows: ``apgd-ce``, ``apgd-t``."""
        return f"{self.name}-t" if self.targets else f"{self.name}-{self.loss}"

    def pursue(self, search: Search) -> None:
        """Climb from each start, towards each guide."""
        looks = checkpoints(self.steps)

        def start(clean: Tensor, draw: Draw, room: Room) -> Ascent:
            z = on_face(search.threat, clean, draw, room)
            return Ascent(z, z, z, torch.zeros_like(z), *first_pace(len(z), clean, LENGTH))

        def rule(step: int, state: Ascent, answer: Answer, clean: Tensor, room: Room) -> Ascent:
            top, slope = higher(state, answer)
            pace, halve = paced(Pace(*state[4:]), answer.values, step, looks.get(step))
            z, last, gradient = state.z, state.last, answer.gradient
            if halve is not None:
                z, last, gradient = chosen(halve, top, z), chosen(halve, top, last), chosen(halve, slope, gradient)
            move = stepped(search.threat, z, gradient, pace.length, clean, room)
            if step:
                move = search.threat.project(z + (1 - MOMENTUM) * (move - z) + MOMENTUM * (z - last), clean, room)
            return Ascent(move, z, top, slope, *pace)

        def stays(step: int, state: Ascent) -> Tensor | None:
            return hopeful(state.best, state.ground, step, self.steps, self.hope) if step in looks else None

        for restart in range(self.restarts):
            for place, loss in guides(search, self.loss, self.targets):
                if kind_of(search.threat.token) == "l1":
                    climb_l1(search, search.draw.at(restart, place), self.steps, loss)
                else:
                    climb(search, draw=search.draw.at(restart, place), start=start, rule=rule, steps=self.steps, loss=loss, stays=stays)


def guides(search: Search, loss: str, targets: int) -> Iterator[tuple[int, Loss]]:
    """The losses to be climbed one after the other, each with its place: of all classes together, or towards one rival an example."""
    if not targets or search.goal.targets is not None:
        yield 0, search.goal.loss(loss)
        return
    rivals = search.rivals(torch.arange(len(search.x), device=search.x.device), targets)
    for place, rival in enumerate(rivals.unbind(1)):
        yield place, search.goal.towards(rival, scaled=loss == "dlr")


def on_face(threat: Ball, clean: Tensor, draw: Draw, room: Room) -> Tensor:
    """A random allowed point an example, pushed out until its change is as large as the threat allows, or the box."""
    z = threat.sample(clean, draw, room)
    if isinstance(threat, Family):
        return z
    size = threat.measure(z, clean)
    stretch = torch.where(size > 0, threat.eps / size, 1).to(clean.dtype)
    return threat.project(clean + column(stretch, z) * (z - clean), clean, room)


def stepped(threat: Ball, z: Tensor, gradient: Tensor, length: Tensor, clean: Tensor, room: Room) -> Tensor:
    """One steepest step an example, of its own ``length`` (n,) as a share of ``eps``, projected; nothing along what is not finite."""
    step = threat.ascend(gradient.nan_to_num(0.0, 0.0, 0.0), threat.eps)
    return threat.project(z + column(length, z) * step, clean, room)


def higher(state: Ascent, answer: Answer) -> tuple[Tensor, Tensor]:
    """Each example's highest point so far, and the gradient there."""
    better = answer.values > state.best
    return chosen(better, state.z, state.top), chosen(better, answer.gradient, state.slope)
