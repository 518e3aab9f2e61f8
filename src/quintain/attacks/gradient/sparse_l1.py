"""Sparse descent in L1: steps of a few coordinates, where the steepest one would move a single one."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.gradient.march import require_march
from quintain.attacks.loop import climb
from quintain.attacks.method import Method
from quintain.attacks.search import Answer, Search
from quintain.core.errors import SettingError
from quintain.threats.ball import Ball, Room
from quintain.threats.draw import Draw


@dataclass(frozen=True, slots=True)
class SparseL1Descent(Method):
    r"""Steps that move the coordinates with the largest gradients by equal amounts, projected on ball and box together.

    .. math:: z_{t+1} = \Pi_x\big(z_t + \alpha e_t / \|e_t\|_1\big), \quad e_{t,i} = sign(g_{t,i}) \text{ where } |g_{t,i}| \ge P(|g_t|)

    from the clean point, with :math:`P` the level that a ``share`` of all coordinates reaches, those left out that the box does not let
    move any further.

    Args:
        steps: Gradients per example; a broken example stops paying.
        rate: Length of a step, as a share of ``eps``.
        share: How many coordinates a step moves, as a share of all.

    Raises:
        SettingError: If a setting is out of range.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Tramer and Boneh, 2019, arXiv:1904.13000.
    """

    name: ClassVar[str] = "sparse-l1"
    serves: ClassVar[tuple[str, ...]] = ("l1",)

    steps: int = 40
    rate: float = 0.1
    share: float = 0.01

    def __post_init__(self) -> None:
        require_march(self.steps, self.rate)
        if not 0 < self.share <= 1:
            raise SettingError(f"share = {self.share}; expected a share of the coordinates above 0, at most 1")

    def pursue(self, search: Search) -> None:
        """Walk from the clean point; nothing is random."""
        threat, length = search.threat, self.rate * search.threat.eps
        count = max(1, math.ceil(self.share * search.x[:1].numel()))

        def start(clean: Tensor, draw: Draw, room: Room) -> tuple[Tensor]:  # noqa: ARG001
            return (clean,)

        def rule(step: int, state: tuple[Tensor], answer: Answer, clean: Tensor, room: Room) -> tuple[Tensor]:  # noqa: ARG001
            return (advance_sparsely(threat, length, count, state[0], answer.gradient, clean, room),)

        climb(search, draw=search.draw, start=start, rule=rule, steps=self.steps, loss=search.goal.log_odds)


def advance_sparsely(threat: Ball, length: float, count: int, z: Tensor, gradient: Tensor, x: Tensor, room: Room) -> Tensor:
    """One step of summed size ``length`` over the ``count`` coordinates with the largest gradients, projected.

    It moves them by equal amounts; those that the box does not let move any further do not count, and of equals all do.
    """
    gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
    stuck = ((z <= threat.low) & (gradient < 0)) | ((z >= threat.high) & (gradient > 0))
    free = gradient.masked_fill(stuck, 0).flatten(1)
    least = free.abs().topk(min(count, free.shape[1]), dim=1).values[:, -1:]
    signs = torch.where(free.abs() >= least, free.sign(), 0)
    move = signs * (length / signs.abs().sum(1, keepdim=True).clamp(min=1))
    return threat.project(z + move.view_as(z), x, room)
