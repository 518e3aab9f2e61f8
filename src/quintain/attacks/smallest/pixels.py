"""A pixel is all channels of one place: the changes that count one by one, and how the needless ones are given back."""

import torch
from torch import Tensor

from quintain.attacks.search import Search
from quintain.core.tokens import kind_of
from quintain.threats.columns import by_channel, highest, over_pixels
from quintain.threats.rounding import box_inside


def per_pixel(values: Tensor) -> Tensor:
    """The sum over the channels of each pixel (n, P), of values (n, *S)."""
    return by_channel(values).sum(1)


def corners(gradient: Tensor, x: Tensor, low: float, high: float) -> Tensor:
    """The changes (n, *S) that take each coordinate to the face of the box where a linear function is higher; none where it is level."""
    return torch.where(gradient > 0, high - x, low - x) * (gradient != 0)


def give_back(search: Search, rows: Tensor, rounds: int = 3) -> None:
    r"""Undo the changes of pixels that each break can do without.

    The changed pixels :math:`i` are ranked by what they add to the margin, :math:`\langle \nabla_i m(z), z_i - x_i \rangle`; the fewest
    of the first ones that still break are found by bisection on their number, first at the colours where they are, then, where only
    their number counts, at the box's corners that raise the margin most. A round that shortens nothing is the last.

    Args:
        search: Asks, judges and keeps.
        rows: The examples to look at (n,); those without a break are left out.
        rounds: Each costs a gradient and two bisections: about :math:`1 + 2 \log_2 k` answers for k changed pixels.
    """
    threat = search.threat
    box = box_inside(threat.low, threat.high, search.x.dtype)
    for _ in range(rounds):
        rows = rows[search.size[rows].isfinite() & search.standing(rows)]
        if not len(rows):
            return
        before, start, clean = search.size[rows], search.best[rows], search.x[rows]
        gradient = search.slope(start, rows, search.goal.margin).gradient.nan_to_num(0.0, 0.0, 0.0)
        used = per_pixel((start != clean).to(clean.dtype)) > 0
        changes = [start - clean]
        if kind_of(threat.token) == "l0":
            changes.append(corners(gradient, clean, *box) * over_pixels(used, clean))
        for change in changes:
            _fewest(search, rows, change, per_pixel(gradient * change).masked_fill(~used, -torch.inf), used.sum(1), box)
        rows = rows[search.size[rows] < before]


def _fewest(search: Search, rows: Tensor, change: Tensor, rank: Tensor, most: Tensor, box: tuple[float, float]) -> None:
    """Bisect on how many of the highest-ranked pixels of a change are enough, ``most`` (n,) being known to be."""
    clean, failing, holding = search.x[rows], torch.zeros_like(rows), most
    while True:
        go = (holding - failing > 1) & search.standing(rows)
        if not go.any():
            return
        rows, clean, change, rank, failing, holding = (part[go] for part in (rows, clean, change, rank, failing, holding))
        count = (failing + holding) // 2
        z = torch.where(over_pixels(highest(rank, count), clean), clean + change, clean).clamp(*box)
        broken = search.goal.reached(search.scores(z, rows), rows)
        failing, holding = torch.where(broken, failing, count), torch.where(broken, count, holding)
