"""A pixel is all channels of one place: the changes that count one by one, and how the needless ones are given back."""

import torch
from torch import Tensor

from quintain.attacks.search import Search
from quintain.core.tokens import kind_of
from quintain.threats.rounding import box_inside


def per_pixel(values: Tensor) -> Tensor:
    """The sum over the channels of each pixel (n, P), of values (n, C, H, W); values of another shape are pixels one by one."""
    return values.sum(1).flatten(1) if values.dim() == 4 else values.flatten(1)


def spread(pixels: Tensor, like: Tensor) -> Tensor:
    """One value per pixel (n, P), shaped to broadcast over images (n, *S)."""
    return pixels.view(len(like), 1, *like.shape[2:]) if like.dim() == 4 else pixels.view_as(like)


def highest(values: Tensor, count: Tensor) -> Tensor:
    """Which entries are among the ``count`` (n,) largest of their row (n, P); of equal ones the first."""
    order = values.argsort(dim=1, descending=True, stable=True)
    places = torch.arange(values.shape[1], device=values.device).expand_as(values)
    return torch.empty_like(order).scatter_(1, order, places) < count[:, None]


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
            changes.append(corners(gradient, clean, *box) * spread(used, clean))
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
        z = torch.where(spread(highest(rank, count), clean), clean + change, clean).clamp(*box)
        broken = search.goal.reached(search.scores(z, rows), rows)
        failing, holding = torch.where(broken, failing, count), torch.where(broken, count, holding)
