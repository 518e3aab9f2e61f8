"""Roots of piecewise linear sums by Newton's method without a sort: projections onto ball and box."""

import torch
from torch import Tensor

NEWTON_ONLY_TURNS = 16
"""Iterations of Newton's method before every third is a bisection."""


def solve_capped_sum(slope: Tensor, cap: Tensor, end: Tensor, target: Tensor) -> Tensor:
    r"""Return the least l (n, 1) with :math:`\sum_i \min(slope_i\, l,\; cap_i) = target`.

    The sum is concave, piecewise linear and increasing in l, so Newton's method from 0 never overshoots. It
    ends, after a handful of iterations, when the set of terms that have reached their cap no longer changes.

    Args:
        slope: Slope of each term (n, F), not negative.
        cap: Largest value of each term (n, F).
        end: The l at which it is reached (n, F): ``cap / slope``; anything where the slope is 0.
        target: Value of the sum (n, 1), not negative.

    Returns:
        l (n, 1); the largest number of the dtype where the caps together are less than ``target``.
    """
    zero, largest = slope.new_zeros(()), torch.finfo(slope.dtype).max
    level = torch.zeros_like(target)
    while True:
        # Newton from the left for a concave piecewise linear function: monotone and finite
        free = end > level
        rest = target - torch.where(free, zero, cap).sum(1, keepdim=True)
        total_slope = torch.where(free, slope, zero).sum(1, keepdim=True)
        proposal = torch.where(rest > 0, rest / total_slope, zero).clamp_(max=largest)
        if not (proposal > level).any():
            return level
        level = torch.maximum(level, proposal)


def l2_scale(change: Tensor, cap: Tensor, radius: Tensor) -> Tensor:
    r"""Return the largest factor :math:`s \le 1` with :math:`\sum_i \min(s |c_i|, cap_i)^2 \le r^2`.

    The result is (n, 1), for changes and caps (n, F) and radii (n, 1).
    """
    squares, ends = change.square(), cap.square()
    return solve_capped_sum(squares, ends, ends / squares, radius.square()).sqrt().clamp(max=1)


def l1_threshold(size: Tensor, cap: Tensor, radius: Tensor) -> Tensor:
    r"""Return the least l >= 0 with :math:`\sum_i \min(\max(size_i - l, 0), cap_i) \le r`.

    The result is (n, 1), for sizes and caps (n, F) and radii (n, 1).

    The sum falls with l and is linear between the points where a coordinate reaches 0 or its cap. Newton's
    method solves the piece at l, which is exact once the solution lies on that same piece. Where it leaves
    the bracket, and every third time after ``NEWTON_ONLY_TURNS`` iterations, the bracket is bisected instead.
    """
    left, right = torch.zeros_like(radius), size.amax(1, keepdim=True)
    level, iteration = left, 0
    while True:
        iteration += 1
        # safeguarded Newton: the solution stays in the bracket [left, right]
        above = size - level
        full, zero = above >= cap, above <= 0
        # on this piece the sum is radius + rest - slope * l, which is the radius at l = rest / slope
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
