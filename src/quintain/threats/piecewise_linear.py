"""Roots of piecewise linear sums by Newton's method without a sort: projections onto ball and box."""

import torch
from torch import Tensor

NEWTON_ONLY_TURNS = 16
"""Turns of Newton's method before every third is a bisection."""


def solve_capped_sum(slope: Tensor, full: Tensor, end: Tensor, need: Tensor) -> Tensor:
    r"""Return the least l (n, 1) with :math:`\sum_i \min(slope_i\, l,\; full_i) = need`.

    The sum is concave, piecewise linear and rising: Newton's method from 0 never overshoots, and ends, after
    a handful of passes, at the exact set of full ramps.

    Args:
        slope: How fast each ramp rises (n, F), not negative.
        full: Where it stops rising (n, F).
        end: The l at which it does (n, F): ``full / slope``; anything where the slope is 0.
        need: What is asked of the sum (n, 1), not negative.

    Returns:
        The level; the largest number of the dtype where all ramps together do not give what is needed.
    """
    nothing, most = slope.new_zeros(()), torch.finfo(slope.dtype).max
    reached = torch.zeros_like(need)
    while True:
        # Newton from the left for a concave piecewise linear function: monotone and finite
        free = end > reached
        rest = need - torch.where(free, nothing, full).sum(1, keepdim=True)
        steepness = torch.where(free, slope, nothing).sum(1, keepdim=True)
        higher = torch.where(rest > 0, rest / steepness, nothing).clamp_(max=most)
        if not (higher > reached).any():
            return reached
        reached = torch.maximum(reached, higher)


def l2_scale(change: Tensor, cap: Tensor, radius: Tensor) -> Tensor:
    r"""Return the largest share :math:`s \le 1` with :math:`\sum_i \min(s |c_i|, cap_i)^2 \le r^2`.

    The result is (n, 1), for sizes (n, F) and radii (n, 1).
    """
    squares, ends = change.square(), cap.square()
    return solve_capped_sum(squares, ends, ends / squares, radius.square()).sqrt().clamp(max=1)


def l1_threshold(size: Tensor, cap: Tensor, radius: Tensor) -> Tensor:
    r"""Return the least l >= 0 with :math:`\sum_i \min(\max(size_i - l, 0), cap_i) \le aim`.

    The result is (n, 1), for sizes and caps (n, F).

    The sum falls with l and is linear between the places where a coordinate starts or stops moving. Newton's
    method solves the piece at l, which is exact once the solution lies on that same piece; where it leaves
    the interval that is still possible, and now and then after ``PLAIN`` turns, the middle is taken instead.
    """
    left, right = torch.zeros_like(radius), size.amax(1, keepdim=True)
    level, iteration = left, 0
    while True:
        iteration += 1
        # safeguarded Newton: bracket [left, right]; bisect where Newton leaves it, and every third turn after
        # 16
        above = size - level
        full, zero = above >= cap, above <= 0
        slope = (~(full | zero)).sum(1, keepdim=True)
        rest = torch.where(full, cap, size).masked_fill_(zero, 0).sum(1, keepdim=True) - radius
        solved = rest / slope
        over = torch.where(slope > 0, solved > level, rest > 0)
        left, right = torch.where(over, level, left), torch.where(over, right, level)
        inside = (solved > left) & (solved < right) & (iteration <= NEWTON_ONLY_TURNS or iteration % 3 > 0)
        proposal = torch.where(inside | (solved == level), solved, left + (right - left) / 2)
        if not ((proposal > left) & (proposal < right)).any():
            return right
        level = proposal
