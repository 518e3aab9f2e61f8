"""Auto conjugate gradient (ACG)."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from quintain.attacks.ascent_loop import gradient_ascent
from quintain.attacks.base import Attack
from quintain.attacks.gradient.apgd import APGD, INITIAL_STEP, per_example_step, random_start_on_surface
from quintain.attacks.gradient.apgd_step_size import (
    StepSizeState,
    checkpoints,
    initial_step_size_state,
    update_step_size,
)
from quintain.attacks.search import Evaluation, Search
from quintain.threats.broadcast import expand_rows, where_rows
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import ProjectionCache


class ACGState(NamedTuple):
    """Next points ``z``, last gradient and direction, each example's best point and its gradient.

    The other fields are those of ``StepSizeState``.
    """

    z: Tensor
    gradient: Tensor
    direction: Tensor
    best_point: Tensor
    best_gradient: Tensor
    step_size: Tensor
    last_loss: Tensor
    increases: Tensor
    best_loss: Tensor
    checkpoint_best_loss: Tensor
    was_halved: Tensor
    initial_loss: Tensor


@dataclass(frozen=True, slots=True)
class ACG(Attack):
    r"""Ascent along conjugate directions with APGD's step sizes, which finds other optima.

    .. math:: s_k = g_k + \beta_k s_{k-1}, \quad
        \beta_k = \frac{\langle -g_k, g_k - g_{k-1} \rangle}{\langle s_{k-1}, g_k - g_{k-1} \rangle}, \quad
        z_{k+1} = \Pi_x\big(z_k + \alpha\, s(s_k)\big)

    Where an example's step is halved, it goes back to its best point and starts anew along the gradient
    there.

    Args:
        steps: Gradients per example and restart; an example stops at its first success.
        restarts: How many random points to start from.
        loss: What is maximized: ``margin``, ``ce``, ``dlr`` or ``probability_margin``.

    Raises:
        SettingError: If a setting is not positive, or there is no such loss.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Yamamura et al., 2022, arXiv:2206.09628.
    """

    name: ClassVar[str] = "acg"
    summary: ClassVar[str] = "ascent along conjugate directions: it ends in other places than APGD"
    use_for: ClassVar[str] = "other optima than APGD, beside it"
    cost: ClassVar[str] = "{steps} gradients, {restarts} times"
    test_settings: ClassVar = {"steps": 15}

    steps: int = 100
    restarts: int = 1
    loss: str = "margin"

    def __post_init__(self) -> None:
        APGD(self.steps, self.restarts, self.loss)

    def run(self, search: Search) -> None:
        """Run from each start."""
        checkpoint_windows = checkpoints(self.steps)

        def init(clean: Tensor, rng: ExampleRNG, cache: ProjectionCache) -> ACGState:
            z = random_start_on_surface(search.threat, clean, rng, cache)
            none = torch.zeros_like(z)
            return ACGState(z, none, none, z, none, *initial_step_size_state(len(z), clean, INITIAL_STEP))

        def update(
            step: int, state: ACGState, out: Evaluation, clean: Tensor, cache: ProjectionCache
        ) -> ACGState:
            gradient = out.gradient.nan_to_num(0.0, 0.0, 0.0)
            better = out.loss_values > state.best_loss
            best_point = where_rows(better, state.z, state.best_point)
            best_gradient = where_rows(better, gradient, state.best_gradient)
            window = checkpoint_windows.get(step)
            step_state, halve = update_step_size(StepSizeState(*state[5:]), out.loss_values, step, window)
            # s_k = g_k + beta_k s_{k-1}
            beta = hestenes_stiefel_beta(gradient, state.gradient, state.direction)
            z, direction = state.z, gradient + expand_rows(beta, gradient) * state.direction
            # where the step size was halved, restart from the best point with its gradient as direction
            if halve is not None:
                z = where_rows(halve, best_point, z)
                gradient = where_rows(halve, best_gradient, gradient)
                direction = where_rows(halve, best_gradient, direction)
            move = per_example_step(search.threat, z, direction, step_state.step_size, clean, cache)
            return ACGState(move, gradient, direction, best_point, best_gradient, *step_state)

        loss = search.goal.loss(self.loss)
        for restart in range(self.restarts):
            gradient_ascent(
                search, rng=search.rng.fold_in(restart), init=init, update=update, steps=self.steps, loss=loss
            )


def hestenes_stiefel_beta(gradient: Tensor, previous_gradient: Tensor, direction: Tensor) -> Tensor:
    """Return the weight of the last direction (n,) by Hestenes and Stiefel; 0 where it is not finite."""
    # beta = <-g_k, g_k - g_{k-1}> / <s_{k-1}, g_k - g_{k-1}>; 0 / 0 at the first step gives 0: steepest
    # ascent
    change = (gradient - previous_gradient).flatten(1)
    weight = -(gradient.flatten(1) * change).sum(1) / (direction.flatten(1) * change).sum(1)
    return weight.nan_to_num(0.0, 0.0, 0.0)
