"""Narrower bounds of what ReLUs are given: for each the slopes of the lines before it are searched for."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from quintain.certify.interval.recording import Operation, ReLULines
from quintain.certify.linear.backward import BackwardBounds
from quintain.certify.linear.sign_splits import SignSplits

STEPS, STEP_SIZE = 10, 0.15
"""Steps of Adam on the slopes, and their size."""

ROWS = 256
"""Numbers whose two ends are bounded at once."""

MOST_SLOPES = 2**22
"""Most slopes at once, of all numbers and ReLUs (32 MiB)."""


def narrow_by_slopes(
    backward: BackwardBounds,
    operation: Operation,
    lower: Tensor,
    upper: Tensor,
    deadline: float,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Tensor, Tensor]:
    """Return bounds (1, *S) of an operation's values, narrower where their sign is not known.

    Lower lines of any slope in [0, 1] bound ReLU from below, so that what each step of the search gives
    holds, its rounding in float64 charged.

    Args:
        backward: Bounds of the operations before it.
        operation: The operation.
        lower, upper: Bounds of its values (1, *S).
        deadline: When to stop, on the clock.
        clock: Seconds.

    Source: Xu et al., 2021, arXiv:2011.13824 (alpha-CROWN).
    """
    sites: dict[Operation, Tensor] = {}
    for one in backward.recording.operations[: operation.index]:
        if isinstance(one.lines, ReLULines) and bool(one.lines.loose.any()):
            sites[one] = one.lines.loose.flatten().nonzero().squeeze(1)
    wanted = ((lower < 0) & (upper > 0)).flatten().nonzero().squeeze(1)
    count = sum(len(units) for units in sites.values())
    if not count or not len(wanted):
        return lower, upper
    low, high = lower.flatten().clone(), upper.flatten().clone()
    for numbers in wanted.split(max(1, min(ROWS, MOST_SLOPES // (2 * count)))):
        if clock() >= deadline:
            break
        ones = torch.zeros(len(numbers), lower.numel(), dtype=torch.float64)
        ones[torch.arange(len(numbers)), numbers] = 1.0
        rows = torch.cat([ones, -ones]).view(-1, *lower.shape[1:])
        found = _search(backward, operation, rows, sites)
        at_least, below = found.chunk(2)
        low[numbers] = torch.where(at_least > low[numbers], at_least, low[numbers])
        high[numbers] = torch.where(-below < high[numbers], -below, high[numbers])
    return low.view_as(lower), high.view_as(upper)


def _search(
    backward: BackwardBounds, operation: Operation, rows: Tensor, sites: dict[Operation, Tensor]
) -> Tensor:
    """Return the best lower bounds of rows (N,) over all steps."""
    starts = [one.lines.lower_slope.flatten()[units] for one, units in sites.items() if one.lines is not None]
    slopes = [start.expand(len(rows), -1).clone().requires_grad_() for start in starts]
    optimizer = torch.optim.Adam(slopes, STEP_SIZE)
    best = rows.new_full((len(rows),), -torch.inf)
    for _ in range(STEPS):
        with torch.enable_grad():
            splits = {
                one: SignSplits(units, torch.zeros_like(part, dtype=torch.int8), part, torch.zeros_like(part))
                for (one, units), part in zip(sites.items(), slopes, strict=True)
            }
            bounds = backward.lower_in_parts(operation, rows, splits)
            loss = -bounds.nan_to_num(0.0).sum()
        best = torch.where(bounds.detach() > best, bounds.detach(), best)
        if not loss.requires_grad:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for part in slopes:
                part.clamp_(0.0, 1.0)
    return best
