"""Sparse-RS over sets of pixels: some are given back, as many others are taken."""

import torch
from torch import Tensor

from quintain.attacks.scores.walk import walk
from quintain.attacks.scores.window import divided, other_end, planes
from quintain.attacks.search import Search
from quintain.threats.rounding import box_inside

SHARES = (0.3, 0.1)
"""Which share of the pixels is exchanged at first, without a target and with one."""

State = tuple[Tensor, Tensor]
"""Points (n, *S), and all pixels of each (n, P) in an order that begins with those that are changed."""


def search_pixels(search: Search, questions: int) -> None:
    """Random search over the colours and places of ``eps`` pixels; all of them if there are no more."""
    rows = search.rows
    clean = search.x[rows]
    channels, height, width = planes(clean.shape[1:])
    count, aimed = min(int(search.threat.eps), height * width), search.goal.targets is not None
    if not (len(rows) and count):
        return
    low, high = (clean.new_tensor(end) for end in box_inside(search.threat.low, search.threat.high, clean.dtype))

    def coloured(z: Tensor, x: Tensor, cells: Tensor, luck: Tensor) -> Tensor:
        """Points with the pixels (n, k) at random corners of the box, other than they are in ``x``."""
        where = cells[:, None].expand(-1, channels, -1)
        old = x.reshape(len(x), channels, -1).gather(2, where)
        new = other_end(old, luck.view(len(x), channels, -1) < 0.5, low, high, (1,))
        return z.reshape(len(z), channels, -1).scatter(2, where, new).view(z.shape)

    def propose(_: int, progress: float, state: State, fixed: tuple[Tensor], numbers: Tensor) -> State:
        z, order = state
        (x,) = fixed
        moved = max(1, int(divided(SHARES[aimed], progress) * count))
        swapped = min(moved, height * width - count)
        keys, places, luck = numbers.split((count, count, channels * count), 1)
        leaving = keys.topk(moved, dim=1).indices
        if swapped:
            z = restored(z, x, order.gather(1, leaving[:, :swapped]))
            order = exchanged(order, leaving[:, :swapped], strata(places[:, :swapped], count, height * width))
        return coloured(z, x, order.gather(1, leaving), luck[:, : channels * moved]), order

    stream = search.draw.at("start").of(rows)
    order = stream.at("order").uniform(torch.empty(len(rows), height * width, device=rows.device)).argsort(dim=1, stable=True)
    luck = stream.at("colour").uniform(torch.empty(len(rows), channels * count, device=rows.device))
    walk(
        search,
        rows=rows,
        state=(coloured(clean, clean, order[:, :count], luck), order),
        fixed=(clean,),
        propose=propose,
        numbers=(2 + channels) * count,
        draw=search.draw,
        questions=questions,
        loss=search.goal.log_odds if aimed else search.goal.margin,
    )


def restored(z: Tensor, x: Tensor, cells: Tensor) -> Tensor:
    """Points (n, *S) whose pixels (n, k) are as in ``x`` again, bit for bit."""
    channels = planes(x.shape[1:])[0]
    where = cells[:, None].expand(-1, channels, -1)
    flat = x.reshape(len(x), channels, -1)
    return z.reshape(flat.shape).scatter(2, where, flat.gather(2, where)).view(z.shape)


def strata(luck: Tensor, first: int, last: int) -> Tensor:
    """Different places (n, k) in [first, last), one in each k-th of it: of a random order, any places are as good."""
    edges = torch.arange(luck.shape[1] + 1, device=luck.device) * (last - first) // luck.shape[1]
    start, size = edges[:-1], edges.diff()
    return first + start + torch.minimum((luck * size).long(), size - 1)


def exchanged(order: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """The same orders (n, P) with the entries at the places ``one`` and ``other`` (n, k) exchanged."""
    return order.scatter(1, one, order.gather(1, other)).scatter(1, other, order.gather(1, one))
