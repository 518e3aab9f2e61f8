"""Sparse-RS over sets of pixels: some are given back, as many others are taken."""

import torch
from torch import Tensor

from quintain.attacks.score_based.random_search_loop import random_search_loop
from quintain.attacks.score_based.windows import image_dims, random_extremes, sparse_rs_schedule
from quintain.attacks.search import Search
from quintain.threats.rounding import representable_box

SWAP_FRACTIONS = (0.3, 0.1)
"""Fraction of the changed pixels that are exchanged at first, without a target and with one."""

State = tuple[Tensor, Tensor]
"""Points (n, *S), and all pixels of each (n, P) in an order that begins with those that are changed."""


def search_pixels(search: Search, queries: int) -> None:
    """Run random search over the colors and places of ``eps`` pixels; all of them if there are no more."""
    rows = search.active_rows
    clean = search.x[rows]
    channels, height, width = image_dims(clean.shape[1:])
    count, aimed = min(int(search.threat.eps), height * width), search.goal.targets is not None
    if not (len(rows) and count):
        return
    low, high = (
        clean.new_tensor(end) for end in representable_box(search.threat.low, search.threat.high, clean.dtype)
    )

    def set_random_colors(z: Tensor, x: Tensor, cells: Tensor, uniforms: Tensor) -> Tensor:
        """Return points with the pixels (n, k) at random corners of the box, other than they are in ``x``."""
        where = cells[:, None].expand(-1, channels, -1)
        old = x.reshape(len(x), channels, -1).gather(2, where)
        new = random_extremes(old, uniforms.view(len(x), channels, -1) < 0.5, low, high, (1,))
        return z.reshape(len(z), channels, -1).scatter(2, where, new).view(z.shape)

    def propose(_: int, progress: float, state: State, constants: tuple[Tensor], uniforms: Tensor) -> State:
        z, order = state
        (x,) = constants
        moved = max(1, int(sparse_rs_schedule(SWAP_FRACTIONS[aimed], progress) * count))
        swapped = min(moved, height * width - count)
        keys, places, color_uniforms = uniforms.split((count, count, channels * count), 1)
        # exchange a fraction of the k pixels: restore them, take as many unused ones, recolor all that were
        # exchanged
        leaving = keys.topk(moved, dim=1).indices
        if swapped:
            z = restore_pixels(z, x, order.gather(1, leaving[:, :swapped]))
            order = swap_entries(
                order, leaving[:, :swapped], pick_distinct(places[:, :swapped], count, height * width)
            )
        return set_random_colors(z, x, order.gather(1, leaving), color_uniforms[:, : channels * moved]), order

    stream = search.rng.fold_in("start").select(rows)
    order = (
        stream.fold_in("order")
        .uniform(torch.empty(len(rows), height * width, device=rows.device))
        .argsort(dim=1, stable=True)
    )
    color_uniforms = stream.fold_in("colour").uniform(
        torch.empty(len(rows), channels * count, device=rows.device)
    )
    random_search_loop(
        search,
        rows=rows,
        state=(set_random_colors(clean, clean, order[:, :count], color_uniforms), order),
        constants=(clean,),
        propose=propose,
        uniforms_per_step=(2 + channels) * count,
        rng=search.rng,
        queries=queries,
        loss=search.goal.log_odds if aimed else search.goal.margin,
    )


def restore_pixels(z: Tensor, x: Tensor, cells: Tensor) -> Tensor:
    """Return points (n, *S) whose pixels (n, k) are as in ``x`` again, bit for bit."""
    channels = image_dims(x.shape[1:])[0]
    where = cells[:, None].expand(-1, channels, -1)
    flat = x.reshape(len(x), channels, -1)
    return z.reshape(flat.shape).scatter(2, where, flat.gather(2, where)).view(z.shape)


def pick_distinct(uniforms: Tensor, first: int, last: int) -> Tensor:
    """Return k different positions (n, k) in [first, last), one in each of k equal parts of the range.

    The positions index a list in random order, so that any choice of them is as random as another.
    """
    # one position in each part: distinct without rejection
    edges = torch.arange(uniforms.shape[1] + 1, device=uniforms.device) * (last - first) // uniforms.shape[1]
    start, size = edges[:-1], edges.diff()
    return first + start + torch.minimum((uniforms * size).long(), size - 1)


def swap_entries(order: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Return the same orders (n, P) with the entries at the places ``one`` and ``other`` (n, k) exchanged."""
    return order.scatter(1, one, order.gather(1, other)).scatter(1, other, order.gather(1, one))
