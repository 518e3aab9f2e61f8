"""Small things that rules do to a batch of points."""

import torch
from torch import Tensor

from quintain.threats.columns import column


def chosen(mask: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Rows of ``first`` where the mask (n,) says so, else of ``second``."""
    return torch.where(column(mask, first), first, second)
