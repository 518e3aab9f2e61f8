"""Auto-PGD for L1 balls, where the steepest step would move one coordinate at a time."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from quintain.attacks.ascent_loop import gradient_ascent
from quintain.attacks.goal import Loss
from quintain.attacks.search import Evaluation, Search
from quintain.threats.broadcast import expand_rows, where_rows
from quintain.threats.l1 import L1
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import ProjectionCache, Threat

RADII = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))
"""The radii of the stages in units of ``eps``, each with its fraction of the steps."""

INITIAL_DENSITY = 0.2
"""The fraction of the coordinates that the first steps move."""

CHECK_EVERY = 0.04
"""Steps between two checks of the sparsity, as a fraction of all."""

SPARSITY_DROP, DIVISOR, MIN_STEP = 0.95, 1.5, 0.1
"""Below which fraction of the last count a change is sparser.

What counts and lengths are divided by; the least length over ``eps``.
"""


class APGDL1State(NamedTuple):
    """The state of APGD for L1.

    Next points ``z``, which rows they are of, each example's best point, the gradient and the loss there;
    then (n,) each:

    the length of its steps as a fraction of the radius, how many coordinates they move, and how many the best
    change had at the last look.
    """

    z: Tensor
    row: Tensor
    best_point: Tensor
    best_gradient: Tensor
    best_loss: Tensor
    step_size: Tensor
    step_count: Tensor
    last_count: Tensor


def apgd_l1(search: Search, rng: ExampleRNG, steps: int, loss: Loss) -> None:
    """Run APGD for L1, first in balls of three and two times the radius.

    The last run starts from the best point, projected onto the ball itself.

    A step moves, by equal amounts, the coordinates with the largest gradients. After every 4 % of the steps
    their number becomes that of the best change over 1.5; where the change became sparser, steps are as long
    as at first again and go on from the best point, else they shrink by 1.5, to a tenth at least.

    Args:
        search: The search; its threat is an ``L1``.
        rng: The streams of random numbers of this run.
        steps: Gradients per example, the wider balls included.
        loss: What is ascended.

    Source: Croce and Hein, 2021, arXiv:2103.01208.
    """
    rows = search.active_rows
    points = search.x.clone()
    # Three stages in balls of 3, 2 and 1 eps with 30, 30 and 40 % of the steps. The wide stages run in a
    # minimum-norm branch, since their points are outside the threat.
    wide = search.branch(search.rng, name=search.name, minimum_norm=True)
    for index, (radius, fraction) in enumerate(RADII):
        ball = scaled_ball(search.threat, radius)
        stage_steps = max(1, round(fraction * steps))
        searching = search if radius == 1 else wide
        rows = rows[searching.is_active(rows)]
        init = init_from(points, ball, rows) if index else random_init(ball, rows)
        update = l1_update(ball, max(1, int(CHECK_EVERY * steps)), points)
        gradient_ascent(searching, rng=rng, init=init, update=update, steps=stage_steps, loss=loss, rows=rows)


def scaled_ball(threat: Threat, radius: float) -> L1:
    """Return the same ball, ``radius`` times as wide."""
    return replace(L1(threat.eps, threat.low, threat.high), eps=radius * threat.eps)


def random_init(ball: L1, rows: Tensor) -> Callable[[Tensor, ExampleRNG, ProjectionCache], APGDL1State]:
    """Return an init function from random points."""

    def init(clean: Tensor, rng: ExampleRNG, cache: ProjectionCache) -> APGDL1State:  # noqa: ARG001
        z = ball.sample(clean, rng)
        dense = torch.full_like(rows, max(1, int(INITIAL_DENSITY * clean[0].numel())))
        return initial_state(z, rows, dense)

    return init


def init_from(
    points: Tensor, ball: L1, rows: Tensor
) -> Callable[[Tensor, ExampleRNG, ProjectionCache], APGDL1State]:
    """Return an init function from projected ``points`` (B, *S)."""

    def init(clean: Tensor, rng: ExampleRNG, cache: ProjectionCache) -> APGDL1State:  # noqa: ARG001
        z = ball.project(points[rows], clean)
        return initial_state(z, rows, shrink_count(count_changed(z, clean)))

    return init


def initial_state(z: Tensor, rows: Tensor, count: Tensor) -> APGDL1State:
    """Return the first state."""
    best_loss = z.new_full((len(z),), -torch.inf)
    return APGDL1State(
        z=z,
        row=rows,
        best_point=z,
        best_gradient=torch.zeros_like(z),
        best_loss=best_loss,
        step_size=torch.ones_like(best_loss),
        step_count=count,
        last_count=torch.full_like(count, z[:1].numel()),
    )


def l1_update(
    ball: L1, check_every: int, points: Tensor
) -> Callable[[int, APGDL1State, Evaluation, Tensor, ProjectionCache], APGDL1State]:
    """Return the update in one ball; each example's best point is written to ``points`` (B, *S)."""

    def update(
        step: int,
        state: APGDL1State,
        out: Evaluation,
        clean: Tensor,
        cache: ProjectionCache,  # noqa: ARG001
    ) -> APGDL1State:
        gradient = out.gradient.nan_to_num(0.0, 0.0, 0.0)
        better = out.loss_values > state.best_loss
        best_point, best_gradient = (
            where_rows(better, state.z, state.best_point),
            where_rows(better, gradient, state.best_gradient),
        )
        best_loss = torch.where(better, out.loss_values, state.best_loss)
        points[state.row] = best_point
        z, step_size, step_count, last_count = state.z, state.step_size, state.step_count, state.last_count
        if step and step % check_every == 0:
            # Sparsity adaption: if the best point changes < 95 % of the coordinates that it did at the last
            # check, restart from it with the full step size; else divide the step size by 1.5 (>= 0.1). Then
            # k = ||best change||_0 / 1.5.
            count = count_changed(best_point, clean)
            sparser = count < SPARSITY_DROP * last_count
            step_size = torch.where(sparser, 1, (step_size / DIVISOR).clamp(min=MIN_STEP))
            z, gradient = where_rows(sparser, best_point, z), where_rows(sparser, best_gradient, gradient)
            step_count, last_count = shrink_count(count), count
        z = ball.project(
            z + expand_rows(ball.eps * step_size, z) * sparse_sign_step(gradient, step_count), clean
        )
        return APGDL1State(
            z=z,
            row=state.row,
            best_point=best_point,
            best_gradient=best_gradient,
            best_loss=best_loss,
            step_size=step_size,
            step_count=step_count,
            last_count=last_count,
        )

    return update


def sparse_sign_step(gradient: Tensor, count: Tensor) -> Tensor:
    """Return the change of summed size 1 that moves some coordinates by equal amounts.

    They are the ``count`` (n,) coordinates of the largest gradients.
    """
    flat = gradient.flatten(1)
    # threshold = k-th largest |g|; equal entries all move, so that the count may exceed k; L1 norm of the
    # step: 1
    threshold = flat.abs().sort(dim=1, descending=True).values.gather(1, count[:, None] - 1)
    signs = torch.where(flat.abs() >= threshold, flat.sign(), 0)
    return (signs / signs.abs().sum(1, keepdim=True).clamp(min=1)).view_as(gradient)


def count_changed(z: Tensor, clean: Tensor) -> Tensor:
    """Return how many coordinates of each example are changed (n,)."""
    return (z != clean).flatten(1).sum(1)


def shrink_count(count: Tensor) -> Tensor:
    """Return how many coordinates a step moves where the best change moved ``count`` (n,)."""
    return (count / DIVISOR).long().clamp(min=1)
