"""Bisection between the clean point and a break: the last step of every search for the smallest change."""

import torch
from torch import Tensor

from quintain.attacks.search import Search

NEAR = 1 / 16
"""How far before the break the first question is asked, as a share of the segment: a search ends near the boundary."""


def shrink(search: Search, rows: Tensor, steps: int = 10) -> None:
    r"""Pull each best point along its segment towards the clean point, for as long as it still breaks.

    .. math:: \min_{0 < t \le 1} t \quad \text{where } x + t (b - x) \text{ breaks}

    to within :math:`2^{1 - steps}`, and sixteen times as near where the boundary is in the last sixteenth of the segment, since that is
    asked first. An example is asked once a step. It stops where its middle is one of its two ends in their dtype (then the bisection is
    exact), or where its budget ends. What has no break yet, or is wrong already, costs nothing.

    Args:
        search: Of the smallest change; its best points are shrunk.
        rows: The examples to shrink (n,), none of them twice.
        steps: Questions per example.

    Guarantee:
        Every step cuts the distance between a point that breaks and one that does not; no best point gets larger.
    """
    rows = rows[search.size[rows].isfinite() & search.standing(rows)]
    unbroken, broken = search.origin[rows], search.best[rows]
    middle = torch.lerp(broken, unbroken, NEAR)
    for _ in range(steps):
        if not len(rows):
            return
        hit = search.goal.reached(search.scores(middle, rows), rows).view(-1, *[1] * (middle.dim() - 1))
        unbroken, broken = unbroken.where(hit, middle), middle.where(hit, broken)
        middle = (unbroken + broken) / 2
        apart = _differ(middle, unbroken) & _differ(middle, broken) & search.standing(rows)
        if not apart.all():
            rows, middle, unbroken, broken = rows[apart], middle[apart], unbroken[apart], broken[apart]


def _differ(a: Tensor, b: Tensor) -> Tensor:
    """Which examples (n,) of two batches differ anywhere."""
    return (a != b).flatten(1).any(1)
