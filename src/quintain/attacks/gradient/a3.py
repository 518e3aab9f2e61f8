"""Adaptive auto attack: start directions that are learned, and climbs that are not begun where they are hopeless."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.hope import check_hope, hopeful
from quintain.attacks.loop import climb
from quintain.attacks.method import Method
from quintain.attacks.search import Answer, Search
from quintain.attacks.step import advance, check_steps, lengths
from quintain.core.limits import at_least
from quintain.threats.ball import Room
from quintain.threats.draw import Draw

WARMING = 8
"""Steps along the start direction of each round."""


@dataclass(frozen=True, slots=True)
class A3(Method):
    r"""Rounds of short climbs on the margin, each after some steps along a random direction of the logits.

    .. math:: \max_{z} \langle w, f(z) \rangle, \quad w_j \sim U(-1, 1), \; w_y \le 0, \qquad \text{then} \qquad \max_z m(f(z), y)

    A round's weights draw their size at random; once one round's climb ended higher than all before it, its favoured class stays
    favoured. Steps along the direction have length ``eps``, those of the climb fall from ``eps`` to nearly nothing. After each round an
    example leaves whose margin would stay below 0 even if the rounds to come gained ``hope`` times as much each as those so far did on
    average: it is open, not safe.

    Args:
        rounds: How many climbs.
        steps: Gradients per example and climb, beside 8 along the start direction; a broken example stops paying.
        hope: How much better the rounds to come may be.

    Raises:
        SettingError: If a setting is not positive.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Liu et al., 2022, arXiv:2203.05154; the learning is per example here, so that a batch's other examples do not matter.
    """

    name: ClassVar[str] = "a3"

    rounds: int = 8
    steps: int = 20
    hope: float = 1.0

    def __post_init__(self) -> None:
        check_steps(self.steps, 1.0)
        check_hope(self.hope)
        at_least(1, rounds=self.rounds)

    def pursue(self, search: Search) -> None:
        """Climb in rounds."""
        threat, goal = search.threat, search.goal
        falling = lengths(threat.eps, self.steps, 1.0)
        everybody = torch.arange(len(search.x), device=search.x.device)
        ground = goal.margin(search.clean_logits, everybody)
        favoured = torch.full_like(goal.y, -1)
        weights = search.clean_logits

        warming = True

        def start(clean: Tensor, draw: Draw, room: Room) -> tuple[Tensor]:
            nonlocal warming
            warming = True
            return (threat.sample(clean, draw, room),)

        def loss(logits: Tensor, rows: Tensor) -> Tensor:
            return (weights[rows] * logits).sum(1) if warming else goal.margin(logits, rows)

        def rule(step: int, state: tuple[Tensor], answer: Answer, clean: Tensor, room: Room) -> tuple[Tensor]:
            nonlocal warming
            warming = step + 1 < WARMING
            length = threat.eps if step < WARMING else falling[step - WARMING]
            return (advance(threat, length, state[0], answer.gradient, clean, room),)

        for turn in range(self.rounds):
            height = search.height.clone()
            rows = search.rows
            if turn and len(rows):
                rows = rows[hopeful(height[rows], ground[rows], turn, self.rounds, self.hope)]
            if not len(rows):
                return
            draw = search.draw.at(turn)
            weights = torch.zeros_like(search.clean_logits)
            weights[rows] = directions(draw.at("weights").of(rows), search.clean_logits[rows], goal.y[rows], favoured[rows])
            climb(search, draw=draw, start=start, rule=rule, steps=WARMING + self.steps, loss=loss, rows=rows)
            better = search.height > height
            favoured = torch.where(better, weights.scatter(1, goal.y[:, None], -torch.inf).argmax(1), favoured)


def directions(draw: Draw, logits: Tensor, y: Tensor, favoured: Tensor) -> Tensor:
    """Weights of the logits (n, K): random, the true class's not positive, and the favoured class's 1 where there is one."""
    weights = 2 * draw.uniform(logits) - 1
    own = weights.gather(1, y[:, None])
    weights = weights.scatter(1, y[:, None], -own.abs())
    known = torch.nn.functional.one_hot(favoured.clamp(min=0), logits.shape[1]).bool() & (favoured >= 0)[:, None]
    return torch.where(known, 1.0, weights)
