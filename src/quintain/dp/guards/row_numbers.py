"""Whole numbers that stand for the rows of a tensor: equal rows have equal ones, in whatever company."""

from functools import lru_cache

import torch
from torch import Tensor

MAX_COLUMNS = 32
"""At most so many numbers of a row identify it."""

MIN_ROWS = 8
"""Rows, all different, from which on the rows of a pass that are all among them are taken for these."""


def has_rows(x: Tensor) -> bool:
    """Whether a tensor is dense and has at least one row of real numbers."""
    return (
        x.layout == torch.strided
        and not x.is_nested
        and bool(x.dim())
        and bool(len(x))
        and not x.is_complex()
    )


def bytes_of_first_rows(x: Tensor) -> bytes:
    """The first rows, as far as they are looked at."""
    return _columns(x[:MIN_ROWS]).cpu().to(torch.float64).numpy().tobytes()


@torch.no_grad()
def row_numbers(x: Tensor) -> Tensor:
    """Each row as one whole number, the same for equal rows in whatever company, format that holds them and
    place.
    """
    words = _columns(x).cpu().to(torch.float64).view(torch.int64)
    odd = torch.randint(2**62, (words.shape[1],), generator=torch.Generator().manual_seed(0)) * 2 + 1
    mixed = (words ^ (words >> 32)) * odd
    return (mixed ^ (mixed >> 29)).sum(1)


def _columns(x: Tensor) -> Tensor:
    """Some columns of the rows, the same for all rows of one length."""
    flat = x.detach().reshape(len(x), -1)
    if flat.shape[1] <= MAX_COLUMNS:
        return flat
    return flat[:, _column_sample(flat.shape[1]).to(flat.device)]


@lru_cache(maxsize=64)
def _column_sample(width: int) -> Tensor:
    return torch.randperm(width, generator=torch.Generator().manual_seed(width))[:MAX_COLUMNS].clone()
