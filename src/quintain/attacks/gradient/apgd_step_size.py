"""The step size of APGD and its variants, which each example halves on its own when progress stops."""

from typing import NamedTuple

import torch
from torch import Tensor

FIRST_WINDOW, WINDOW_DECREMENT, MIN_WINDOW = 0.22, 0.03, 0.06
"""The first window between checkpoints, its decrement and the shortest window, as fractions of all steps."""

RHO = 0.75
"""The paper's rho: condition 1 halves the step size unless more than this fraction of a window's steps
increased the loss.
"""


def checkpoints(steps: int) -> dict[int, int]:
    """Return the steps after which progress is checked, each with the number of steps since the last check.

    Source: Croce and Hein, 2020, arXiv:2003.01690.
    """
    window, shrink, shortest = (
        max(1, int(fraction * steps)) for fraction in (FIRST_WINDOW, WINDOW_DECREMENT, MIN_WINDOW)
    )
    # p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), in fractions of the steps
    windows, at = {}, 0
    while at + window <= steps:
        at += window
        windows[at] = window
        window = max(shortest, window - shrink)
    return windows


class StepSizeState(NamedTuple):
    """The state of the step size of n examples, (n,) each.

    Args:
        step_size: As a fraction of ``eps``.
        last_loss: The loss at the last point.
        increases: Steps since the last checkpoint that increased the loss.
        best_loss: The largest loss so far.
        checkpoint_best_loss: The largest loss at the last checkpoint.
        was_halved: Whether the step size was halved there.
        initial_loss: The loss at the start.
    """

    step_size: Tensor
    last_loss: Tensor
    increases: Tensor
    best_loss: Tensor
    checkpoint_best_loss: Tensor
    was_halved: Tensor
    initial_loss: Tensor


def initial_step_size_state(count: int, like: Tensor, step_size: float) -> StepSizeState:
    """Return the state of ``count`` examples before their first step."""
    lowest = like.new_full((count,), -torch.inf)
    none = torch.zeros(count, dtype=torch.bool, device=like.device)
    # was_halved starts as True, so that condition 2 cannot hold at the first checkpoint
    return StepSizeState(
        step_size=like.new_full((count,), step_size),
        last_loss=lowest,
        increases=none.long(),
        best_loss=lowest,
        checkpoint_best_loss=lowest,
        was_halved=~none,
        initial_loss=lowest,
    )


def update_step_size(
    state: StepSizeState, values: Tensor, step: int, window: int | None
) -> tuple[StepSizeState, Tensor | None]:
    """Return the state after a step, and at a checkpoint the examples (n,) whose step size was halved.

    A step size is halved if at most 75 % of the window's steps increased the loss, or if it was not halved at
    the last checkpoint and the best loss has not increased since.

    Args:
        state: Before the step.
        values: The loss at the new points (n,).
        step: Number of steps made; 0 at the start, which counts as no increase of the loss.
        window: Number of steps since the last checkpoint if this is one, else None.

    Source: Croce and Hein, 2020, arXiv:2003.01690.
    """
    increases = state.increases + (values > state.last_loss) if step else state.increases
    best_loss = torch.where(values > state.best_loss, values, state.best_loss)
    state = state._replace(
        last_loss=values,
        increases=increases,
        best_loss=best_loss,
        initial_loss=state.initial_loss if step else values,
    )
    if window is None:
        return state, None
    # condition 1 or condition 2 of the paper, for each example
    halve = (increases <= RHO * window) | (~state.was_halved & (best_loss <= state.checkpoint_best_loss))
    step_size = torch.where(halve, state.step_size / 2, state.step_size)
    return StepSizeState(
        step_size=step_size,
        last_loss=values,
        increases=torch.zeros_like(increases),
        best_loss=best_loss,
        checkpoint_best_loss=best_loss,
        was_halved=halve,
        initial_loss=state.initial_loss,
    ), halve
