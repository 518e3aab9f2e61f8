"""A first break, however large: where a search for the smallest change begins when the way from the clean point leads nowhere."""

from torch import Tensor

from quintain.attacks.search import Search


def reach(search: Search, rows: Tensor, steps: int = 20, rate: float = 0.1) -> None:
    r"""Signed gradient steps across the whole box, for each example until it breaks.

    .. math:: z_{t+1} = clip(z_t + rate\,(high - low)\, sign(\nabla m(f(z_t), y)),\; low,\; high)

    Args:
        search: Of the smallest change; what breaks is kept there.
        rows: The examples to break (n,); those that have a break cost nothing.
        steps: Gradients per example.
        rate: Length of a step, as a share of the box's width.
    """
    low, high = search.threat.low, search.threat.high
    z = search.origin[rows]
    for _ in range(steps):
        go = search.size[rows].isinf() & search.standing(rows)
        rows, z = rows[go], z[go]
        if not len(rows):
            return
        gradient = search.slope(z, rows, search.goal.margin).gradient.nan_to_num(0.0, 0.0, 0.0)
        z = (z + rate * (high - low) * gradient.sign()).clamp(low, high)
