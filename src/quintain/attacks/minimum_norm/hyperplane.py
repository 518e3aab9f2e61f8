"""The nearest point of a hyperplane inside the data box, without a sort: the step of FAB and DeepFool."""

from typing import Literal

import torch
from torch import Tensor

from quintain.threats.piecewise_linear import solve_capped_sum

Norm = Literal["linf", "l2", "l1"]

ORDER: dict[Norm, float] = {"linf": torch.inf, "l2": 2, "l1": 1}
"""The exponent of each norm."""


def project_onto_hyperplane(
    norm: Norm, z: Tensor, normal: Tensor, increase: Tensor, low: float, high: float
) -> Tensor:
    r"""Return the smallest change of each point, inside the box, with a given increase of a linear function.

    .. math:: \min_d \|d\|_p \quad \text{with } w \cdot d = c, \; low \le z + d \le high

    With :math:`s_i = |w_i|` and :math:`r_i` the distance from :math:`z_i` to the face of the box in its
    direction, the optimum is :math:`|d_i| = \min(l, r_i)` for Linf and :math:`\min(l s_i, r_i)` for L2, with
    the l for which :math:`\sum_i s_i |d_i| = c`. For L1 coordinates are moved to their face in the order of
    falling :math:`s_i`, the last one in part.

    Args:
        norm: ``linf``, ``l2`` or ``l1``.
        z: Points (n, F) of the box.
        normal: Gradients w (n, F), finite.
        increase: Increase c (n,) of the function; it is lowered where c is negative.
        low, high: The data box.

    Returns:
        The changes d (n, F), in float32 or better. If the box does not allow an increase of c, they lead to
        its corner; if c or w is 0, they are 0.

    Source: Croce, Hein, 2020, arXiv:1907.02044, for the problem.
    """
    if z.dtype != torch.float64:
        z, normal, increase = z.float(), normal.float(), increase.float()
    abs_increase = increase.abs().unsqueeze(1)
    signed_normal = normal * increase.sign().unsqueeze(1)
    signs, weights = signed_normal.sign(), signed_normal.abs()
    cap = torch.where(signs > 0, high - z, z - low).clamp_(min=0)
    # KKT: Linf |d_i| = min(l, cap_i); L2 |d_i| = min(l w_i, cap_i); find l with sum_i w_i |d_i| = c. L1: fill
    # the steepest coordinates first.
    if norm == "linf":
        moves = torch.minimum(solve_capped_sum(weights, weights * cap, cap, abs_increase), cap)
    elif norm == "l2":
        moves = torch.minimum(
            solve_capped_sum(weights.square(), weights * cap, cap / weights, abs_increase) * weights, cap
        )
    else:
        moves = _fill_steepest_first(weights, cap, abs_increase)
    return moves * signs


def _fill_steepest_first(weights: Tensor, cap: Tensor, abs_increase: Tensor) -> Tensor:
    """Return how far each coordinate (n, F) moves if the steepest are moved first.

    Each is moved as far as its cap, until the increase is reached.
    """
    weights, order = weights.sort(dim=1, descending=True)
    cap = cap.gather(1, order)
    # greedy knapsack: fraction of coordinate i = (c - gain of steeper ones) / own gain, clamped to [0, 1]
    gain = weights * cap
    fraction = ((abs_increase - (gain.cumsum(1) - gain)) / gain).nan_to_num_(0.0).clamp_(0, 1)
    return torch.empty_like(cap).scatter_(1, order, cap * fraction)
