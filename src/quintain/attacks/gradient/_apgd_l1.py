"""Auto-PGD for L1 balls, where the steepest step would move one coordinate at a time."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from quintain.attacks.ascent_loop import gradient_ascent
from quintain.attacks.goal import Loss
from quintain.attacks.search import Evaluation, Search
from quintain.threats.broadcast import expand_rows, where_rows
from quintain.threats.l1 import L1
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import ProjectionCache

RADII = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))
"""The radii of the stages in units of ``eps``, each with its fraction of the steps."""

INITIAL_DENSITY = 0.2
"""The fraction of the coordinates that the first steps move."""

CHECK_EVERY = 0.04
"""Steps between two checks of the sparsity, as a fraction of all."""

SPARSITY_DROP = 0.95
"""A change is sparser if it has less than this fraction of the coordinates that it had at the last check."""

DIVISOR = 1.5
"""What step sizes, and the numbers of coordinates that steps move, are divided by."""

MIN_STEP_SIZE = 0.1
"""The smallest step size, as a fraction of the ball's radius."""


class APGDL1State(NamedTuple):
    """The state of APGD for L1 on the active examples.

    Args:
        z: The next points (n, *S).
        row: Which examples of the batch they belong to (n,).
        best_point: Each example's point of largest loss (n, *S).
        best_gradient: The gradient there (n, *S).
        best_loss: The loss there (n,).
        step_size: L1 norm of the steps (n,), as a fraction of the ball's radius.
        step_count: Number of coordinates that a step moves (n,).
        last_count: Number of coordinates in which the best point differed at the last check (n,).
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
    """Run APGD for L1 in balls of 3, 2 and 1 times ``eps``, one after the other.

    The first ball is searched from a random point, each smaller one from the best point so far, projected
    onto it.

    A step moves, by equal amounts, the coordinates with the largest gradients. After every 4 % of the steps
    their number is set to the number of coordinates that the best point changes, divided by 1.5. Where that
    number has fallen by more than 5 %, the step size is reset and the ascent goes on from the best point;
    elsewhere the step size is divided by 1.5, down to a tenth of the radius.

    Args:
        search: The search; its threat is an ``L1``.
        rng: The streams of random numbers of this run.
        steps: Gradients per example, the wider balls included.
        loss: What is ascended.

    Source: Croce and Hein, 2021, arXiv:2103.01208.
    """
    rows = search.active_rows
    points = search.x.clone()
    # The points of the wide stages are outside the threat, so these stages run in a minimum-norm branch.
    wide = search.branch(search.rng, name=search.name, minimum_norm=True)
    for index, (radius, fraction) in enumerate(RADII):
        ball = L1(radius * search.threat.eps, search.threat.low, search.threat.high)
        stage_steps = max(1, round(fraction * steps))
        searching = search if radius == 1 else wide
        rows = rows[searching.is_active(rows)]
        init = init_from(points, ball, rows) if index else random_init(ball, rows)
        update = l1_update(ball, max(1, int(CHECK_EVERY * steps)), points)
        gradient_ascent(searching, rng=rng, init=init, update=update, steps=stage_steps, loss=loss, rows=rows)


def random_init(ball: L1, rows: Tensor) -> Callable[[Tensor, ExampleRNG, ProjectionCache], APGDL1State]:
    """Return an init function that starts at random points of the ball."""

    def init(clean: Tensor, rng: ExampleRNG, cache: ProjectionCache) -> APGDL1State:  # noqa: ARG001
        z = ball.sample(clean, rng)
        dense = torch.full_like(rows, max(1, int(INITIAL_DENSITY * clean[0].numel())))
        return initial_state(z, rows, dense)

    return init


def init_from(
    points: Tensor, ball: L1, rows: Tensor
) -> Callable[[Tensor, ExampleRNG, ProjectionCache], APGDL1State]:
    """Return an init function that starts at ``points`` (B, *S), projected onto the ball."""

    def init(clean: Tensor, rng: ExampleRNG, cache: ProjectionCache) -> APGDL1State:  # noqa: ARG001
        z = ball.project(points[rows], clean)
        return initial_state(z, rows, shrink_count(count_changed(z, clean)))

    return init


def initial_state(z: Tensor, rows: Tensor, count: Tensor) -> APGDL1State:
    """Return the state before the first step, from ``z`` (n, *S) with steps of ``count`` (n,) coordinates."""
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
            # where the best change became sparser, go on from it with the full step size; else shorten steps
            count = count_changed(best_point, clean)
            sparser = count < SPARSITY_DROP * last_count
            step_size = torch.where(sparser, 1, (step_size / DIVISOR).clamp(min=MIN_STEP_SIZE))
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
    """Return the change of L1 norm 1 that moves the ``count`` (n,) steepest coordinates by equal amounts."""
    flat = gradient.flatten(1)
    # threshold: the count-th largest |g|; equal entries all move, so that more than count may
    threshold = flat.abs().sort(dim=1, descending=True).values.gather(1, count[:, None] - 1)
    signs = torch.where(flat.abs() >= threshold, flat.sign(), 0)
    return (signs / signs.abs().sum(1, keepdim=True).clamp(min=1)).view_as(gradient)


def count_changed(z: Tensor, clean: Tensor) -> Tensor:
    """Return how many coordinates of each example are changed (n,)."""
    return (z != clean).flatten(1).sum(1)


def shrink_count(count: Tensor) -> Tensor:
    """Return how many coordinates (n,) a step moves where the best point differs in ``count`` (n,)."""
    return (count / DIVISOR).long().clamp(min=1)
