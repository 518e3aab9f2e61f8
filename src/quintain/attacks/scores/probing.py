"""Gradient ascent without gradients: each step follows the slope that pairs of probes round the current point tell."""

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from quintain.attacks.goal import Loss
from quintain.attacks.loop import kept
from quintain.attacks.scores.crowd import PIECE
from quintain.attacks.search import Search
from quintain.core.errors import SettingError
from quintain.threats.ball import Room
from quintain.threats.draw import Draw

State = TypeVar("State", bound=tuple[Tensor, ...])
"""What a rule remembers of each example; the first of its tensors holds the current points."""

Rule = Callable[[float, State, Tensor, Tensor, Room], State]
"""The next state from (share of the steps that are done, state, estimated gradient, clean inputs, the threat's room)."""

Noise = Callable[[Draw, Tensor], Tensor]
"""Random directions of the shape of a tensor, each example's from its own stream."""


def follow(
    search: Search,
    *,
    state: Callable[[Tensor], State],
    rule: Rule[State],
    noise: Noise,
    questions: int,
    pairs: int,
    width: float,
    loss: Loss,
) -> None:
    """Ascend on the examples still standing, from their clean points; who is done costs nothing more.

    A step costs ``2 * pairs`` probes and one question at the new point, which is judged; where not even one step can be paid,
    it takes fewer probes.

    Args:
        search: Asks, judges and keeps.
        state: The first state from clean inputs (n, *S).
        rule: Gives the next state; its points must be allowed.
        noise: The directions of the probes.
        questions: How often an example is asked about, at most.
        pairs: Pairs of probes a step.
        width: How far a probe goes along its direction, in the units of the data.
        loss: What is ascended.
    """
    rows = search.rows
    if not len(rows):
        return
    questions = min(questions, int(search.meter.left(rows).amax()) - 1)
    pairs = min(pairs, (questions - 1) // 2)
    if not pairs:
        return
    steps = questions // (2 * pairs + 1)
    clean = search.x[rows]
    room, current = search.threat.room(clean), state(clean)
    for step in range(steps):
        still = search.standing(rows, 2 * pairs + 1)
        if not still.all():
            rows, clean, current = rows[still], clean[still], kept(current, still)
            room = tuple(part[still] for part in room)
            if not len(rows):
                return
        gradient = slope(search, current[0], rows, search.draw.at(step), noise, pairs, width, loss)
        current = rule(step / steps, current, gradient, clean, room)
        search.scores(current[0], rows)


def slope(search: Search, z: Tensor, rows: Tensor, draw: Draw, noise: Noise, pairs: int, width: float, loss: Loss) -> Tensor:
    r"""The loss' gradient (n, *S) at the current points, as m antithetic pairs of probes tell it.

    .. math:: \hat g = \frac{1}{2 \sigma m} \sum_{i=1}^{m} u_i \big(\ell(f(z + \sigma u_i)) - \ell(f(z - \sigma u_i))\big)

    The probes are kept in the box, and are no candidates.
    """
    found = [z[:0]]
    for here, asked in zip(*(part.split(max(1, PIECE // (2 * pairs))) for part in (z, rows)), strict=True):
        directions = noise(draw.of(asked), here.new_empty(len(here), pairs, *here.shape[1:]))
        reach = width * directions
        probes = torch.cat((here[:, None] + reach, here[:, None] - reach), 1).clamp(search.threat.low, search.threat.high)
        everyone = asked.repeat_interleave(2 * pairs)
        up, down = loss(search.ask(probes.flatten(0, 1), everyone), everyone).view(len(here), 2, pairs).unbind(1)
        share = ((up - down) / (2 * width * pairs)).to(here.dtype)
        found.append((share[..., None] * directions.flatten(2)).sum(1).view_as(here))
    return torch.cat(found)


def falling(progress: float) -> float:
    """A factor that falls from 1 to nearly 0 along a cosine."""
    return (1 + math.cos(math.pi * progress)) / 2


def require_probes(questions: int, pairs: int, width: float, rate: float) -> None:
    """Refuse settings out of range.

    Raises:
        SettingError: If one is.
    """
    for name, count, least in (("questions", questions, 3), ("pairs", pairs, 1)):
        if count < least:
            raise SettingError(f"{name} = {count}; expected at least {least}")
    for name, value in (("width", width), ("rate", rate)):
        if not 0 < value < math.inf:
            raise SettingError(f"{name} = {value}; expected a positive finite number")
