"""The bisection that attacks with a weighted sum share: how much a break weighs against the size of the change."""

from collections.abc import Callable

import torch
from torch import Tensor

from quintain.attacks.search import Search

GROWTH = 4.0
"""By how much the constant is raised while none broke an example."""

Descend = Callable[[Tensor, Tensor], Tensor]
"""One search for rows (n,), with constants (B,): which of the batch ended it with breaks (B,) bool."""


def bisect_constant(search: Search, searches: int, first: Tensor, descend: Descend) -> None:
    r"""Search with several constants, for each example between one that broke it and one that did not.

    .. math:: \min_z size(z - x) + c \max(-m(f(z), y), 0)

    Args:
        search: Asks, judges and keeps.
        searches: Constants per example.
        first: The first of them (B,), where the two terms are about in balance.
        descend: One search.
    """
    constant, below, above = first, torch.zeros_like(first), torch.full_like(first, torch.inf)
    for _ in range(searches):
        rows = search.rows
        if not len(rows):
            return
        held = descend(rows, constant)
        above, below = torch.where(held, constant, above), torch.where(held, below, constant)
        constant = torch.where(above.isinf(), GROWTH * constant, (above + below) / 2)
