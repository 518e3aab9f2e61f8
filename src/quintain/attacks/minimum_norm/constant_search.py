"""The binary search for the constant that weighs the margin against the size of the perturbation."""

from collections.abc import Callable

import torch
from torch import Tensor

from quintain.attacks.search import Search

GROWTH = 4.0
"""Factor on the constant until the first success."""

Minimize = Callable[[Tensor, Tensor], Tensor]
"""Minimizes for examples ``rows`` (n,) with constants (B,); returns which examples succeeded (B,) bool."""


def binary_search_constant(
    search: Search, binary_search_steps: int, first: Tensor, minimize: Minimize
) -> None:
    r"""Minimize with one constant after the other, chosen per example by binary search.

    .. math:: \min_z size(z - x) + c \max(-m(f(z), y), 0)

    with m the margin, positive where z is misclassified. The best points are kept by ``search``; a smaller
    constant that still succeeds weighs the size more, and finds a smaller perturbation.

    Args:
        search: Runs the model, checks success and keeps each example's best point.
        binary_search_steps: Constants per example.
        first: The first constants (B,), at which the two terms are about equal.
        minimize: Minimizes with given constants.
    """
    constant, lower, upper = first, torch.zeros_like(first), torch.full_like(first, torch.inf)
    for _ in range(binary_search_steps):
        rows = search.active_rows
        if not len(rows):
            return
        succeeded = minimize(rows, constant)
        # a constant that succeeds is an upper bound, one that fails a lower one; next comes their middle, or
        # a multiple of the last constant until there is an upper bound
        upper, lower = torch.where(succeeded, constant, upper), torch.where(succeeded, lower, constant)
        constant = torch.where(upper.isinf(), GROWTH * constant, (upper + lower) / 2)
