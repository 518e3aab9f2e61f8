"""Adaptive auto attack: start directions that are learned, and climbs that are not begun where they are hopeless."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.ascent_loop import gradient_ascent
from quintain.attacks.base import Attack
from quintain.attacks.patience import can_still_succeed, check_patience
from quintain.attacks.search import Evaluation, Search
from quintain.attacks.step_sizes import ascent_step, check_steps, cosine_step_sizes
from quintain.core.limits import require_at_least
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import ProjectionCache

INIT_STEPS = 8
"""Steps along the start direction of each round."""


@dataclass(frozen=True, slots=True)
class A3(Attack):
    r"""Rounds of short climbs on the margin, each after some steps along a random direction of the logits.

    .. math:: \max_{z} \langle w, f(z) \rangle, \quad w_j \sim U(-1, 1), \; w_y \le 0, \qquad \text{then} \qquad \max_z m(f(z), y)

    A round's weights draw their size at random; once one round's climb ended higher than all before it, its
    favored class stays favored. Steps along the direction have length ``eps``, those of the climb fall from
    ``eps`` to nearly nothing. After each round an example leaves whose margin would stay below 0 even if the
    rounds to come gained ``patience`` times as much each as those so far did on average: it is open, not
    safe.

    Args:
        rounds: How many climbs.
        steps: Gradients per example and climb, beside 8 along the start direction; a broken example stops
            paying.
        patience: How much better the rounds to come may be.

    Raises:
        SettingError: If a setting is not positive.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may
        still be breakable.

    Source: Liu et al., 2022, arXiv:2203.05154; the learning is per example here, so that a batch's other
        examples do not matter.
    """

    name: ClassVar[str] = "a3"

    rounds: int = 8
    steps: int = 20
    patience: float = 1.0

    def __post_init__(self) -> None:
        check_steps(self.steps, 1.0)
        check_patience(self.patience)
        require_at_least(1, rounds=self.rounds)

    def run(self, search: Search) -> None:
        """Climb in rounds."""
        threat, goal = search.threat, search.goal
        step_sizes = cosine_step_sizes(threat.eps, self.steps, 1.0)
        everyone = torch.arange(len(search.x), device=search.x.device)
        initial_loss = goal.margin(search.clean_logits, everyone)
        preferred_class = torch.full_like(goal.y, -1)
        weights = search.clean_logits

        initializing = True

        def init(clean: Tensor, rng: ExampleRNG, cache: ProjectionCache) -> tuple[Tensor]:
            nonlocal initializing
            initializing = True
            return (threat.sample(clean, rng, cache),)

        def loss(logits: Tensor, rows: Tensor) -> Tensor:
            return (weights[rows] * logits).sum(1) if initializing else goal.margin(logits, rows)

        def update(step: int, state: tuple[Tensor], out: Evaluation, clean: Tensor, cache: ProjectionCache) -> tuple[Tensor]:
            nonlocal initializing
            initializing = step + 1 < INIT_STEPS
            step_size = threat.eps if step < INIT_STEPS else step_sizes[step - INIT_STEPS]
            return (ascent_step(threat, step_size, state[0], out.gradient, clean, cache),)

        for round_number in range(self.rounds):
            margin_before = search.best_margin.clone()
            rows = search.active_rows
            if round_number and len(rows):
                rows = rows[can_still_succeed(margin_before[rows], initial_loss[rows], round_number, self.rounds, self.patience)]
            if not len(rows):
                return
            rng = search.rng.fold_in(round_number)
            weights = torch.zeros_like(search.clean_logits)
            weights[rows] = output_directions(
                rng.fold_in("weights").select(rows), search.clean_logits[rows], goal.y[rows], preferred_class[rows]
            )
            gradient_ascent(search, rng=rng, init=init, update=update, steps=INIT_STEPS + self.steps, loss=loss, rows=rows)
            better = search.best_margin > margin_before
            preferred_class = torch.where(better, weights.scatter(1, goal.y[:, None], -torch.inf).argmax(1), preferred_class)


def output_directions(rng: ExampleRNG, logits: Tensor, y: Tensor, preferred_class: Tensor) -> Tensor:
    """Weights of the logits (n, K): random, the true class's not positive, and the favored class's 1 where there is one."""
    weights = 2 * rng.uniform(logits) - 1
    own = weights.gather(1, y[:, None])
    weights = weights.scatter(1, y[:, None], -own.abs())
    known = torch.nn.functional.one_hot(preferred_class.clamp(min=0), logits.shape[1]).bool() & (preferred_class >= 0)[:, None]
    return torch.where(known, 1.0, weights)
