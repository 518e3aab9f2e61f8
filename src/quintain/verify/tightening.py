"""Narrower bounds of what ReLUs are given: for each the slopes of the lines before it are searched for."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from quintain.certify.interval.recording import Operation, ReLULines
from quintain.certify.linear.backward import BackwardBounds
from quintain.certify.linear.sign_splits import SignSplits
from quintain.certify.linear.slope_search import SLOPE_STEP, adam_direction

STEPS = 10
"""Steps of Adam on the slopes."""

ROWS = 256
"""Numbers whose two ends are bounded at once."""

MAX_SLOPES = 2**22
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
    for numbers in wanted.split(max(1, min(ROWS, MAX_SLOPES // (2 * count)))):
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
    slopes = torch.cat(starts).expand(len(rows), -1)
    moments = torch.zeros_like(slopes), torch.zeros_like(slopes)
    best = rows.new_full((len(rows),), -torch.inf)
    for step in range(1, STEPS + 1):
        with torch.enable_grad():
            slopes = slopes.detach().requires_grad_()
            parts = slopes.split([len(units) for units in sites.values()], 1)
            splits = {
                one: SignSplits(units, torch.zeros_like(part, dtype=torch.int8), part, torch.zeros_like(part))
                for (one, units), part in zip(sites.items(), parts, strict=True)
            }
            bounds = backward.lower_in_parts(operation, rows, splits)
            if bounds.requires_grad:
                (gradient,) = torch.autograd.grad(bounds.sum(), slopes)
        best = torch.where(bounds.detach() > best, bounds.detach(), best)
        if not bounds.requires_grad:
            break
        slopes = (slopes.detach() + SLOPE_STEP * adam_direction(gradient, *moments, step)).clamp(0, 1)
    return best
