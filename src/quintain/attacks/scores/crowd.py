"""Many points of each example, one after another: asked in pieces that fit in memory, until one breaks it."""

from collections.abc import Callable

import torch
from torch import Tensor

from quintain.attacks.search import Search

PIECE = 256
"""How many points a model is given at once, at most."""

BLOCK = 64
"""How many points of an example are asked about before it is looked whether one breaks it."""

Points = Callable[[Tensor, Tensor], Tensor]
"""The points (q, *S) of (places among the rows (q,), numbers of the points (q,))."""


def ask_all(search: Search, rows: Tensor, live: Tensor, points: Points) -> Tensor:
    """Margins (n, m) of m allowed points of each example, minus infinity where it was not asked about; the best ones are judged.

    Args:
        search: Asks, judges and keeps.
        rows: The examples (n,).
        live: Which points to ask about (n, m), from the first on; an example pays for each, as far as it can.
        points: Makes them.
    """
    heights = torch.full(live.shape, -torch.inf, dtype=search.height.dtype, device=rows.device)
    for first in range(0, live.shape[1], BLOCK):
        wanted = live[:, first : first + BLOCK] & search.standing(rows)[:, None]
        wanted &= wanted.cumsum(1) < search.meter.left(rows)[:, None]
        told = wanted.any(1).nonzero().squeeze(1)
        if not len(told):
            continue
        logits = search.clean_logits.new_zeros(*wanted.shape, search.clean_logits.shape[1])
        for example, turn in zip(*(part.split(PIECE) for part in wanted.nonzero(as_tuple=True)), strict=True):
            logits[example, turn] = search.ask(points(example, turn + first), rows[example])
            heights[example, turn + first] = search.goal.margin(logits[example, turn], rows[example]).to(heights.dtype)
        best = heights[told, first : first + BLOCK].argmax(1)
        search.judge(points(told, best + first), rows[told], logits[told, best])
    return heights
