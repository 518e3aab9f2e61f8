"""Bisection between the clean point and a break: the last step of every search for the smallest change."""

import torch
from torch import Tensor

from quintain.attacks.search import Search
from quintain.threats.columns import column

NEAR = 1 / 16
"""How far before the break the first question is asked, as a share of the segment: a search ends near the boundary."""


def shrink(search: Search, rows: Tensor, steps: int = 10) -> None:
    r"""Pull each best point along its segment towards the clean point, for as long as it still breaks.

    .. math:: \min_{0 < t \le 1} t \quad \text{where } x + t (b - x) \text{ breaks}

    to within :math:`2^{-steps}` of the segment. The first question is at fifteen sixteenths of it, so that a break that is near the
    boundary already takes ``steps - 3`` questions; any other takes one more than ``steps``. An example stops early where its middle is
    one of its two ends in their dtype (then the bisection is exact), or where its budget ends. What has no break yet, or is wrong
    already, costs nothing.

    Args:
        search: Of the smallest change; its best points are shrunk.
        rows: The examples to shrink (n,), none of them twice.
        steps: How often the segment is halved.

    Guarantee:
        Every step cuts the distance between a point that breaks and one that does not; no best point gets larger.
    """
    rows = rows[search.size[rows].isfinite() & search.standing(rows)]
    unbroken, broken = search.origin[rows], search.best[rows]
    middle, share = torch.lerp(broken, unbroken, NEAR), torch.ones_like(search.size[rows])
    while len(rows):
        hit = search.goal.reached(search.scores(middle, rows), rows)
        share = torch.where(share < 1, share / 2, torch.where(hit, 1 - NEAR, NEAR))
        held = column(hit, middle)
        unbroken, broken = unbroken.where(held, middle), middle.where(held, broken)
        middle = (unbroken + broken) / 2
        apart = (share > 2.0**-steps) & _differ(middle, unbroken) & _differ(middle, broken) & search.standing(rows)
        if not apart.all():
            rows, middle, unbroken, broken, share = rows[apart], middle[apart], unbroken[apart], broken[apart], share[apart]


def _differ(a: Tensor, b: Tensor) -> Tensor:
    """Which examples (n,) of two batches differ anywhere."""
    return (a != b).flatten(1).any(1)
