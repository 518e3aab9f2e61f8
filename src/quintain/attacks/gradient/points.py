"""Small things that rules do to a batch of points."""

import torch
from torch import Tensor


def chosen(mask: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Rows of ``first`` where the mask (n,) says so, else of ``second``."""
    return torch.where(column(mask, first), first, second)


def column(values: Tensor, like: Tensor) -> Tensor:
    """One value an example (n,), shaped to broadcast over (n, *S)."""
    return values.view(-1, *[1] * (like.dim() - 1))
