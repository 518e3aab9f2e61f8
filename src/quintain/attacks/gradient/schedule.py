"""The step length of APGD and its relatives: halved, for each example on its own, when it no longer helps."""

from typing import NamedTuple

import torch
from torch import Tensor

FIRST, SHRINK, LEAST = 0.22, 0.03, 0.06
"""The first window between two checkpoints, by how much each is shorter than the last, and the shortest: shares of all steps."""

RISING = 0.75
"""Where a larger share of a window's steps raised the loss, its length is kept."""


def checkpoints(steps: int) -> dict[int, int]:
    """The steps after which each example's progress is looked at, and how many steps each looks back on.

    Source: Croce and Hein, 2020, arXiv:2003.01690.
    """
    window, shrink, least = (max(1, int(share * steps)) for share in (FIRST, SHRINK, LEAST))
    found, at = {}, 0
    while at + window <= steps:
        at += window
        found[at] = window
        window = max(least, window - shrink)
    return found


class Pace(NamedTuple):
    """How each of n examples gets on, (n,) each.

    Args:
        length: Of its steps, as a share of ``eps``.
        value: The loss where it was last asked.
        rises: How many steps since the last checkpoint raised the loss.
        best: The largest loss so far.
        before: The largest loss at the last checkpoint.
        halved: Whether its length was halved there.
        ground: The loss at the start.
    """

    length: Tensor
    value: Tensor
    rises: Tensor
    best: Tensor
    before: Tensor
    halved: Tensor
    ground: Tensor


def first_pace(count: int, like: Tensor, length: float) -> Pace:
    """The pace of ``count`` examples that were asked nothing yet; nothing can have failed to improve at the first checkpoint."""
    lowest = like.new_full((count,), -torch.inf)
    none = torch.zeros(count, dtype=torch.bool, device=like.device)
    return Pace(like.new_full((count,), length), lowest, none.long(), lowest, lowest, ~none, lowest)


def paced(pace: Pace, values: Tensor, step: int, window: int | None) -> tuple[Pace, Tensor | None]:
    r"""The pace after a step, and whose length was halved (n,), where this step is a checkpoint.

    A length is halved if at most 75 % of the window's steps raised the loss, or if it was not halved at the last checkpoint and the
    largest loss has not moved since.

    Args:
        pace: Before the step.
        values: The loss at the new points (n,).
        step: How many steps were made; the start is 0, and no rise.
        window: How many of them since the last checkpoint, if this is one.

    Source: Croce and Hein, 2020, arXiv:2003.01690.
    """
    rises = pace.rises + (values > pace.value) if step else pace.rises
    best = torch.where(values > pace.best, values, pace.best)
    pace = pace._replace(value=values, rises=rises, best=best, ground=pace.ground if step else values)
    if window is None:
        return pace, None
    halve = (rises <= RISING * window) | (~pace.halved & (best <= pace.before))
    length = torch.where(halve, pace.length / 2, pace.length)
    return Pace(length, values, torch.zeros_like(rises), best, best, halve, pace.ground), halve
