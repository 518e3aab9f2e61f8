"""Adaptive auto attack (A3): learned initial directions, and early stopping per example."""

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
"""Steps along the initial direction of each round."""


@dataclass(frozen=True, slots=True)
class A3(Attack):
    r"""Short gradient ascents on the margin, each after steps along a random direction of the logits.

    .. math::
        \max_{z} \langle w, f(z) \rangle, \quad w_j \sim U(-1, 1), \; w_y \le 0, \qquad \text{then} \qquad
        \max_z m(f(z), y)

    Each round first takes 8 steps of size eps along a random direction w of the logits (w_j ~ U(-1, 1), w_y
    <= 0), then ``steps`` ascent steps on the margin with a cosine step size from eps to 0. When a round
    improves an example's best margin, the class with the largest weight gets weight 1 in the rounds after it
    (adaptive direction). After each round an example is dropped if ``patience`` times its average gain per
    round would not bring its margin to 0 in the rounds left.

    Args:
        rounds: Number of rounds.
        steps: Gradients per example and round, beside 8 along the initial direction; an example stops at its
            first success.
        patience: Factor on the average gain per round.

    Raises:
        SettingError: If a setting is not positive.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Liu et al., 2022, arXiv:2203.05154; here each example learns its own direction, so that a batch's
        other examples do not matter.
    """

    name: ClassVar[str] = "a3"
    summary: ClassVar[str] = (
        "short gradient ascents from learned initial directions, with early stopping per example"
    )
    use_for: ClassVar[str] = "many short gradient ascents from diverse starts"
    cost: ClassVar[str] = "8 + {steps} gradients, {rounds} times"
    test_settings: ClassVar = {"rounds": 2, "steps": 15}

    rounds: int = 8
    steps: int = 20
    patience: float = 1.0

    def __post_init__(self) -> None:
        check_steps(self.steps, 1.0)
        check_patience(self.patience)
        require_at_least(1, rounds=self.rounds)

    def run(self, search: Search) -> None:
        """Run the rounds: initial direction, gradient ascent, update of the preferred classes."""
        threat, goal = search.threat, search.goal
        step_sizes = cosine_step_sizes(threat.eps, self.steps, 1.0)
        all_rows = torch.arange(len(search.x), device=search.x.device)
        initial_loss = goal.margin(search.clean_logits, all_rows)
        preferred_class = torch.full_like(goal.y, -1)  # -1: none yet
        weights = search.clean_logits

        initializing = True

        def init(clean: Tensor, rng: ExampleRNG, cache: ProjectionCache) -> tuple[Tensor]:
            nonlocal initializing
            initializing = True
            return (threat.sample(clean, rng, cache),)

        def loss(logits: Tensor, rows: Tensor) -> Tensor:
            return (weights[rows] * logits).sum(1) if initializing else goal.margin(logits, rows)

        def update(
            step: int, state: tuple[Tensor], out: Evaluation, clean: Tensor, cache: ProjectionCache
        ) -> tuple[Tensor]:
            nonlocal initializing
            # The first 8 gradients are those of <w, logits>, with steps of size eps; then the margin's, with
            # a cosine. ``initializing`` is set for the next gradient.
            initializing = step + 1 < INIT_STEPS
            step_size = threat.eps if step < INIT_STEPS else step_sizes[step - INIT_STEPS]
            return (ascent_step(threat, step_size, state[0], out.gradient, clean, cache),)

        for round_number in range(self.rounds):
            margin_before = search.best_margin.clone()
            rows = search.active_rows
            if round_number and len(rows):
                # online discarding: drop examples whose margin gains per round would not reach 0 in the
                # rounds left
                rows = rows[
                    can_still_succeed(
                        margin_before[rows], initial_loss[rows], round_number, self.rounds, self.patience
                    )
                ]
            if not len(rows):
                return
            rng = search.rng.fold_in(round_number)
            weights = torch.zeros_like(search.clean_logits)
            weights[rows] = output_directions(
                rng.fold_in("weights").select(rows),
                search.clean_logits[rows],
                goal.y[rows],
                preferred_class[rows],
            )
            gradient_ascent(
                search, rng=rng, init=init, update=update, steps=INIT_STEPS + self.steps, loss=loss, rows=rows
            )
            # remember the class of the largest weight where this round improved the margin
            improved = search.best_margin > margin_before
            preferred_class = torch.where(
                improved, weights.scatter(1, goal.y[:, None], -torch.inf).argmax(1), preferred_class
            )


def output_directions(rng: ExampleRNG, logits: Tensor, y: Tensor, preferred_class: Tensor) -> Tensor:
    """Return random weights of the logits (n, K), along which a round of A3 begins.

    The true class's weight is not positive, and the preferred class's is 1.

    Args:
        rng: One stream for each example.
        logits: Logits (n, K), for their shape and dtype.
        y: True classes (n,).
        preferred_class: The class to raise (n,), -1 for none.
    """
    # w ~ U(-1, 1)^K, w_y = -|w_y|, preferred class: 1
    weights = 2 * rng.uniform(logits) - 1
    true_class_weight = weights.gather(1, y[:, None])
    weights = weights.scatter(1, y[:, None], -true_class_weight.abs())
    is_preferred = (
        torch.nn.functional.one_hot(preferred_class.clamp(min=0), logits.shape[1]).bool()
        & (preferred_class >= 0)[:, None]
    )
    return torch.where(is_preferred, 1.0, weights)
