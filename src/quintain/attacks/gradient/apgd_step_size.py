"""The step length of APGD and its relatives: halved, for each example on its own, when it no longer helps."""

from typing import NamedTuple

import torch
from torch import Tensor

FIRST_WINDOW, WINDOW_DECREMENT, MIN_WINDOW = 0.22, 0.03, 0.06
"""The first window between two checkpoints, by how much each is shorter than the last, and the shortest: shares of all steps."""

RHO = 0.75
"""Where a larger share of a window's steps raised the loss, its length is kept."""


def checkpoints(steps: int) -> dict[int, int]:
    """The steps after which each example's progress is looked at, and how many steps each looks back on.

    Source: Croce and Hein, 2020, arXiv:2003.01690.
    """
    window, shrink, shortest = (max(1, int(share * steps)) for share in (FIRST_WINDOW, WINDOW_DECREMENT, MIN_WINDOW))
    windows, at = {}, 0
    while at + window <= steps:
        at += window
        windows[at] = window
        window = max(shortest, window - shrink)
    return windows


class StepSizeState(NamedTuple):
    """How each of n examples gets on, (n,) each.

    Args:
        step_size: Of its steps, as a share of ``eps``.
        last_loss: The loss where it was last asked.
        increases: How many steps since the last checkpoint raised the loss.
        best_loss: The largest loss so far.
        checkpoint_best_loss: The largest loss at the last checkpoint.
        was_halved: Whether its length was halved there.
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
    """The pace of ``count`` examples that were asked nothing yet; nothing can have failed to improve at the first checkpoint."""
    lowest = like.new_full((count,), -torch.inf)
    none = torch.zeros(count, dtype=torch.bool, device=like.device)
    return StepSizeState(like.new_full((count,), step_size), lowest, none.long(), lowest, lowest, ~none, lowest)


def update_step_size(state: StepSizeState, values: Tensor, step: int, window: int | None) -> tuple[StepSizeState, Tensor | None]:
    r"""The pace after a step, and whose length was halved (n,), where this step is a checkpoint.

    A length is halved if at most 75 % of the window's steps raised the loss, or if it was not halved at the
    last checkpoint and the largest loss has not moved since.

    Args:
        state: Before the step.
        values: The loss at the new points (n,).
        step: How many steps were made; the start is 0, and no rise.
        window: How many of them since the last checkpoint, if this is one.

    Source: Croce and Hein, 2020, arXiv:2003.01690.
    """
    increases = state.increases + (values > state.last_loss) if step else state.increases
    best_loss = torch.where(values > state.best_loss, values, state.best_loss)
    state = state._replace(last_loss=values, increases=increases, best_loss=best_loss, initial_loss=state.initial_loss if step else values)
    if window is None:
        return state, None
    halve = (increases <= RHO * window) | (~state.was_halved & (best_loss <= state.checkpoint_best_loss))
    step_size = torch.where(halve, state.step_size / 2, state.step_size)
    return StepSizeState(step_size, values, torch.zeros_like(increases), best_loss, best_loss, halve, state.initial_loss), halve
