"""The bisection that attacks with a weighted sum share: how much a break weighs against the size of the change."""

from collections.abc import Callable

import torch
from torch import Tensor

from quintain.attacks.search import Search

GROWTH = 4.0
"""By how much the constant is raised while none broke an example."""

Minimize = Callable[[Tensor, Tensor], Tensor]
"""One search for rows (n,), with constants (B,): which of the batch ended it with breaks (B,) bool."""


def binary_search_constant(search: Search, binary_search_steps: int, first: Tensor, minimize: Minimize) -> None:
    r"""Search with several constants, for each example between one that broke it and one that did not.

    .. math:: \min_z size(z - x) + c \max(-m(f(z), y), 0)

    Args:
        search: Asks, judges and keeps.
        binary_search_steps: Constants per example.
        first: The first of them (B,), where the two terms are about in balance.
        minimize: One search.
    """
    constant, below, above = first, torch.zeros_like(first), torch.full_like(first, torch.inf)
    for _ in range(binary_search_steps):
        rows = search.active_rows
        if not len(rows):
            return
        succeeded = minimize(rows, constant)
        above, below = torch.where(succeeded, constant, above), torch.where(succeeded, below, constant)
        constant = torch.where(above.isinf(), GROWTH * constant, (above + below) / 2)
