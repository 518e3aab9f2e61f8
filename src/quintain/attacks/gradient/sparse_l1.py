"""Sparse descent in L1: steps of a few coordinates, where the steepest one would move a single one."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.ascent_loop import gradient_ascent
from quintain.attacks.base import Attack
from quintain.attacks.gradient.iterative_fgsm import check_iterative_fgsm
from quintain.attacks.search import Evaluation, Search
from quintain.core.errors import SettingError
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import ProjectionCache, Threat


@dataclass(frozen=True, slots=True)
class SparseL1Descent(Attack):
    r"""Each step moves the coordinates with the largest gradients by equal amounts.

    The result is projected onto ball and box together.

    .. math::
        z_{t+1} = \Pi_x\big(z_t + \alpha e_t / \|e_t\|_1\big), \quad
        e_{t,i} = sign(g_{t,i}) \text{ where } |g_{t,i}| \ge P(|g_t|)

    from the clean point, with :math:`P` the threshold that a ``fraction`` of all coordinates reaches.
    Coordinates that are at a wall of the box and whose gradient points outside are not moved.

    Args:
        steps: Gradients per example; an example stops at its first success.
        rel_step_size: Length of a step, as a fraction of ``eps``.
        fraction: How many coordinates a step moves, as a fraction of all.

    Raises:
        SettingError: If a setting is out of range.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Tramer and Boneh, 2019, arXiv:1904.13000.
    """

    name: ClassVar[str] = "sparse-l1"
    summary: ClassVar[str] = "gradient steps of a few coordinates, for L1"
    use_for: ClassVar[str] = "L1 by a few coordinates a step; comparisons with older work"
    cost: ClassVar[str] = "{steps} gradients"
    supports: ClassVar[tuple[str, ...]] = ("l1",)
    optimality_gap: ClassVar = {"any": 0.02}

    steps: int = 40
    rel_step_size: float = 0.1
    fraction: float = 0.01

    def __post_init__(self) -> None:
        check_iterative_fgsm(self.steps, self.rel_step_size)
        if not 0 < self.fraction <= 1:
            raise SettingError(
                f"fraction = {self.fraction}; expected a fraction of the coordinates above 0, at most 1"
            )

    def run(self, search: Search) -> None:
        """Run from the clean point; nothing is random."""
        threat, step_size = search.threat, self.rel_step_size * search.threat.eps
        count = max(1, math.ceil(self.fraction * search.x[:1].numel()))

        def init(clean: Tensor, rng: ExampleRNG, cache: ProjectionCache) -> tuple[Tensor]:  # noqa: ARG001
            return (clean,)

        def update(
            step: int,  # noqa: ARG001
            state: tuple[Tensor],
            out: Evaluation,
            clean: Tensor,
            cache: ProjectionCache,
        ) -> tuple[Tensor]:
            return (sparse_ascent_step(threat, step_size, count, state[0], out.gradient, clean, cache),)

        gradient_ascent(
            search, rng=search.rng, init=init, update=update, steps=self.steps, loss=search.goal.log_odds
        )


def sparse_ascent_step(
    threat: Threat,
    step_size: float,
    count: int,
    z: Tensor,
    gradient: Tensor,
    x: Tensor,
    cache: ProjectionCache,
) -> Tensor:
    """Return the projected points (n, *S) after one step along the coordinates of the largest gradients.

    Args:
        threat: The points are projected onto it.
        step_size: L1 norm of the step, shared equally by the coordinates that move.
        count: Number of coordinates that move; of equal gradients at the threshold all do.
        z: Points (n, *S).
        gradient: Gradient of the loss at ``z`` (n, *S).
        x: Clean inputs (n, *S).
        cache: The projection cache of ``x``.
    """
    gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
    # Coordinates on a face of the box whose gradient points outside cannot move: leave them out of the top k.
    stuck = ((z <= threat.low) & (gradient < 0)) | ((z >= threat.high) & (gradient > 0))
    free = gradient.masked_fill(stuck, 0).flatten(1)
    threshold = free.abs().topk(min(count, free.shape[1]), dim=1).values[:, -1:]
    # equal signed steps with L1 norm step_size; none where the gradient is 0 everywhere
    signs = torch.where(free.abs() >= threshold, free.sign(), 0)
    move = signs * (step_size / signs.abs().sum(1, keepdim=True).clamp(min=1))
    return threat.project(z + move.view_as(z), x, cache)
