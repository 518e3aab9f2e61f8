"""The binary search for the constant that weighs the margin against the size of the perturbation."""

from collections.abc import Callable

import torch
from torch import Tensor

from quintain.attacks.search import Search

GROWTH = 4.0
"""Factor on the constant until the first success."""

Minimize = Callable[[Tensor, Tensor], Tensor]
"""Minimize for rows (n,) with constants (B,); return which examples of the batch succeeded (B,) bool."""


def binary_search_constant(
    search: Search, binary_search_steps: int, first: Tensor, minimize: Minimize
) -> None:
    r"""Find the constant of each example by binary search between failure and success.

    .. math:: \min_z size(z - x) + c \max(-m(f(z), y), 0)

    Args:
        search: Runs the model, checks success and keeps each example's best point.
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
        # success: upper bound, search below; failure: lower bound; times 4 until the first success
        above, below = torch.where(succeeded, constant, above), torch.where(succeeded, below, constant)
        constant = torch.where(above.isinf(), GROWTH * constant, (above + below) / 2)
