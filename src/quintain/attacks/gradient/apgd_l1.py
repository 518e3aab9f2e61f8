"""Auto-PGD for the ball of the summed change, where the steepest step would move one coordinate at a time."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from quintain.attacks.goal import Loss
from quintain.attacks.gradient.points import chosen
from quintain.attacks.loop import climb
from quintain.attacks.search import Answer, Search
from quintain.threats.ball import Ball, Room
from quintain.threats.columns import column
from quintain.threats.draw import Draw
from quintain.threats.l1 import L1

RADII = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))
"""The radii that are climbed in, in units of ``eps``, each with its share of the steps."""

DENSE = 0.2
"""The share of the coordinates that the first steps move."""

LOOK = 0.04
"""How many steps, as a share of all, lie between two looks at how sparse the best change is."""

SPARSER, SHORTER, SHORTEST = 0.95, 1.5, 0.1
"""Below which share of the last count a change is sparser; what counts and lengths are divided by; the least length over ``eps``."""


class Sparse(NamedTuple):
    """Next points ``z``, which rows they are of, each example's highest point, the gradient and the loss there; then (n,) each:

    the length of its steps as a share of the radius, how many coordinates they move, and how many the best change had at the last look.
    """

    z: Tensor
    row: Tensor
    top: Tensor
    slope: Tensor
    best: Tensor
    length: Tensor
    moving: Tensor
    before: Tensor


def climb_l1(search: Search, draw: Draw, steps: int, loss: Loss) -> None:
    r"""One run: in balls of three and two times the radius first, then, from the best point projected, in the ball itself.

    A step moves, by equal amounts, the coordinates with the largest gradients. After every 4 % of the steps their number becomes that of
    the best change over 1.5; where the change became sparser, steps are as long as at first again and go on from the best point, else
    they shrink by 1.5, to a tenth at least.

    Args:
        search: Asks, judges and keeps; its threat is an ``L1``.
        draw: The streams of random numbers of this run.
        steps: Gradients per example, the wider balls included.
        loss: What is ascended.

    Source: Croce and Hein, 2021, arXiv:2103.01208.
    """
    rows = search.rows
    points = search.x.clone()
    wide = search.branch(search.draw, name=search.name, smallest=True)
    for place, (radius, share) in enumerate(RADII):
        ball = within(search.threat, radius)
        count = max(1, round(share * steps))
        asked = search if radius == 1 else wide
        rows = rows[asked.standing(rows)]
        start = starting(points, ball, rows) if place else first(ball, rows)
        rule = sparse_rule(ball, max(1, int(LOOK * steps)), points)
        climb(asked, draw=draw, start=start, rule=rule, steps=count, loss=loss, rows=rows)


def within(threat: Ball, radius: float) -> L1:
    """The same ball, ``radius`` times as wide."""
    return replace(L1(threat.eps, threat.low, threat.high), eps=radius * threat.eps)


def first(ball: L1, rows: Tensor) -> Callable[[Tensor, Draw, Room], Sparse]:
    """Start from random points."""

    def start(clean: Tensor, draw: Draw, room: Room) -> Sparse:  # noqa: ARG001
        z = ball.sample(clean, draw)
        dense = torch.full_like(rows, max(1, int(DENSE * clean[0].numel())))
        return fresh(z, rows, dense)

    return start


def starting(points: Tensor, ball: L1, rows: Tensor) -> Callable[[Tensor, Draw, Room], Sparse]:
    """Start from ``points`` (B, *S), projected."""

    def start(clean: Tensor, draw: Draw, room: Room) -> Sparse:  # noqa: ARG001
        z = ball.project(points[rows], clean)
        return fresh(z, rows, fewer(moved(z, clean)))

    return start


def fresh(z: Tensor, rows: Tensor, count: Tensor) -> Sparse:
    """The first state."""
    best = z.new_full((len(z),), -torch.inf)
    return Sparse(z, rows, z, torch.zeros_like(z), best, torch.ones_like(best), count, torch.full_like(count, z[:1].numel()))


def sparse_rule(ball: L1, look: int, points: Tensor) -> Callable[[int, Sparse, Answer, Tensor, Room], Sparse]:
    """The rule in one ball; each example's highest point is written to ``points`` (B, *S)."""

    def rule(step: int, state: Sparse, answer: Answer, clean: Tensor, room: Room) -> Sparse:  # noqa: ARG001
        gradient = answer.gradient.nan_to_num(0.0, 0.0, 0.0)
        better = answer.values > state.best
        top, slope = chosen(better, state.z, state.top), chosen(better, gradient, state.slope)
        best = torch.where(better, answer.values, state.best)
        points[state.row] = top
        z, length, moving, before = state.z, state.length, state.moving, state.before
        if step and step % look == 0:
            now = moved(top, clean)
            sparser = now < SPARSER * before
            length = torch.where(sparser, 1, (length / SHORTER).clamp(min=SHORTEST))
            z, gradient = chosen(sparser, top, z), chosen(sparser, slope, gradient)
            moving, before = fewer(now), now
        z = ball.project(z + column(ball.eps * length, z) * steep(gradient, moving), clean)
        return Sparse(z, state.row, top, slope, best, length, moving, before)

    return rule


def steep(gradient: Tensor, count: Tensor) -> Tensor:
    """The change of summed size 1 that moves the ``count`` (n,) coordinates of the largest gradients by equal amounts."""
    rows = gradient.flatten(1)
    least = rows.abs().sort(dim=1, descending=True).values.gather(1, count[:, None] - 1)
    signs = torch.where(rows.abs() >= least, rows.sign(), 0)
    return (signs / signs.abs().sum(1, keepdim=True).clamp(min=1)).view_as(gradient)


def moved(z: Tensor, clean: Tensor) -> Tensor:
    """How many coordinates of each example are changed (n,)."""
    return (z != clean).flatten(1).sum(1)


def fewer(count: Tensor) -> Tensor:
    """How many coordinates a step moves where the best change moved ``count`` (n,)."""
    return (count / SHORTER).long().clamp(min=1)
