"""Gradient steps of one length, with or without momentum: what the fast gradient methods and their descendants share."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from quintain.attacks.loop import Start, climb
from quintain.attacks.search import Answer, Search
from quintain.attacks.step import advance, check_steps
from quintain.core.errors import DataError, SettingError
from quintain.threats.ball import Ball, Room
from quintain.threats.columns import column
from quintain.threats.draw import Draw
from quintain.threats.family import identity


class March(NamedTuple):
    """Next points ``z`` (n, ...), and the direction so far (n, ...), in units of an average coordinate of a gradient."""

    z: Tensor
    velocity: Tensor


def march(
    search: Search,
    *,
    steps: int,
    rate: float,
    decay: float = 0.0,
    begin: Callable[[Tensor, Draw, Room], Tensor] | None = None,
    smooth: Callable[[Tensor], Tensor] | None = None,
) -> None:
    r"""Steepest steps of length ``rate * eps`` on the cross-entropy, each along the gradients so far.

    .. math:: v_{t+1} = \mu v_t + \frac{g_t}{mean|g_t|}, \quad z_{t+1} = \Pi_x\big(z_t + \alpha s(v_{t+1})\big)

    Args:
        search: Asks, judges and keeps.
        steps: Gradients per example.
        rate: Length of a step, as a share of ``eps``.
        decay: :math:`\mu`: the share of the direction so far that is kept.
        begin: Gives the first points; the clean ones if not given.
        smooth: Changes each gradient before it is used.
    """
    threat = search.threat

    def rule(step: int, state: March, answer: Answer, clean: Tensor, room: Room) -> March:  # noqa: ARG001
        gradient = answer.gradient if smooth is None else smooth(answer.gradient.nan_to_num(0.0, 0.0, 0.0))
        velocity = carried(state.velocity, gradient, decay)
        return March(advance(threat, rate * threat.eps, state.z, velocity, clean, room), velocity)

    climb(search, draw=search.draw, start=standing_still(threat, begin), rule=rule, steps=steps, loss=search.goal.log_odds)


def standing_still(threat: Ball, begin: Callable[[Tensor, Draw, Room], Tensor] | None = None) -> Start[March]:
    """Start without a direction, from the clean points or where ``begin`` says."""

    def start(clean: Tensor, draw: Draw, room: Room) -> March:
        z = identity(threat, clean) if begin is None else begin(clean, draw, room)
        return March(z, torch.zeros_like(z))

    return start


def carried(velocity: Tensor, gradient: Tensor, decay: float) -> Tensor:
    """The direction after one more gradient, whose size does not count; what is not finite, or no slope at all, adds nothing."""
    gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
    if not decay:
        return gradient
    size = gradient.flatten(1).abs().mean(1)
    return decay * velocity + gradient / column(torch.where(size > 0, size, 1), gradient)


def require_march(steps: int, rate: float, decay: float = 0.0) -> None:
    """Refuse settings that no march can have.

    Raises:
        SettingError: If so.
    """
    check_steps(steps, rate)
    if not 0 <= decay <= 1:
        raise SettingError(f"decay = {decay}; expected a share of the direction so far, 0 to 1")


def require_pictures(name: str, x: Tensor) -> None:
    """Refuse inputs that are not pictures.

    Raises:
        DataError: If so.
    """
    if x.dim() != 4:
        raise DataError(f"inputs of shape {tuple(x.shape)} for {name}; expected pictures (B, C, H, W): add the missing axes")
