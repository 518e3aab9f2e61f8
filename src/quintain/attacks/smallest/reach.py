"""Where a search for the smallest change begins and ends: a break, however large, and what of it is needless."""

from torch import Tensor

from quintain.attacks.search import Search
from quintain.attacks.smallest.bisection import shrink
from quintain.attacks.smallest.pixels import give_back
from quintain.core.tokens import kind_of
from quintain.threats.rounding import box_inside


def reach(search: Search, rows: Tensor, steps: int = 20, rate: float = 0.1) -> None:
    r"""Signed gradient steps across the whole box, for each example until it breaks; the break is then refined.

    .. math:: z_{t+1} = clip(z_t + rate\,(high - low)\, sign(\nabla m(f(z_t), y)),\; low,\; high)

    Args:
        search: Of the smallest change; what breaks is kept there.
        rows: The examples to break (n,); those that have a break cost nothing.
        steps: Gradients per example.
        rate: Length of a step, as a share of the box's width.
    """
    low, high = box_inside(search.threat.low, search.threat.high, search.x.dtype)
    everyone, z = rows, search.origin[rows]
    for _ in range(steps):
        go = search.size[rows].isinf() & search.standing(rows)
        rows, z = rows[go], z[go]
        if not len(rows):
            break
        gradient = search.slope(z, rows, search.goal.margin).gradient.nan_to_num(0.0, 0.0, 0.0)
        z = (z + rate * (high - low) * gradient.sign()).clamp(low, high)
    refine(search, everyone, rounds=1)


def refine(search: Search, rows: Tensor, rounds: int = 3) -> None:
    """Give back needless pixels where each counts by itself (L0, L1), and bisect towards the clean point where the way there counts."""
    kind = kind_of(search.threat.token)
    if kind in {"l0", "l1"}:
        give_back(search, rows, rounds)
    if kind != "l0":
        shrink(search, rows)
