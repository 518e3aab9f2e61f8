"""Norms and products of rows in the numbers' own format, told in float64, a piece of the batch at a time."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

KEPT = 1 << 20
"""Numbers that are worked on at a time, about what a cache holds: larger ones are built in pieces, and built again for the sum."""

PIECE = 256
"""Numbers whose squares are added in the numbers' own format."""

SMALL = 1e-12
"""Below it, a weight is given to both sides of a product."""


def square(x: Tensor) -> Tensor:
    """Squared norm of each row of (B, ...), in float64: of short pieces in the numbers' own format, and in float64 where that overflows.

    A little is added for what the squares of very small numbers lose.
    """
    rows, precision = flat(x), torch.finfo(x.dtype)
    even = rows.shape[1] - rows.shape[1] % PIECE

    def summed(part: Tensor) -> Tensor:
        return torch.linalg.vector_norm(part, dim=-1).double().square()

    def work(rows: Tensor) -> Tensor:
        if not even:
            return summed(rows)
        whole = summed(rows[:, :even].unflatten(1, (-1, PIECE))).sum(1)
        return whole if even == rows.shape[1] else whole + summed(rows[:, even:])

    return in_range(work, rows) + rows.shape[1] * precision.tiny / precision.eps


def flat(x: Tensor) -> Tensor:
    """Rows (B, numbers): of parameters without dimension, one number each."""
    return x.flatten(1) if x.dim() > 1 else x[:, None]


def lengths(x: Tensor) -> Tensor:
    """Norm at each position of (B, T, width), (B, T) float64."""
    return square(x.flatten(0, 1)).sqrt().view(x.shape[:2])


def in_range(work: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """The result as float64, worked out in the numbers' own format unless that overflows."""
    quick = work(*rows).double()
    return quick if math.isfinite(quick.sum()) else work(*(x.double() for x in rows))


def dots(one: Tensor, other: Tensor) -> Tensor:
    """Inner product of each row, (B,)."""
    return torch.linalg.vecdot(flat(one), flat(other))


def crossed(one: Tensor, other: Tensor) -> Tensor:
    r"""From the products of each two positions of both sides, (B, T, T): the squared norms, and what they could be at most, (B, 2).

    The second is :math:`\sum_t \|a_t\| \|g_t\|`, from the diagonals; squares too small to be told are taken as the least that can be.
    """
    precision = torch.finfo(one.dtype)
    sides = (products.diagonal(dim1=1, dim2=2).clamp(min=precision.tiny / precision.eps).sqrt() for products in (one, other))
    return torch.stack([dots(one, other), dots(*sides)], 1)


def weighted(a: Tensor, g: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides of products, which take the weights (B,): the smaller side all, or each side their roots where some are small."""
    if ((weights > 0) & (weights < SMALL)).any():
        root = per_row(weights.sqrt(), a)
        return a * root, g * per_row(root, g)
    return (a * per_row(weights, a), g) if a.numel() <= g.numel() else (a, g * per_row(weights, g))


def per_row(weights: Tensor, x: Tensor) -> Tensor:
    """Numbers (B,) in the format of ``x`` (B, ...), to multiply it by."""
    return weights.to(x.dtype).view(-1, *(1 for _ in x.shape[1:]))


def cleared(x: Tensor, gone: Tensor) -> Tensor:
    """Some rows set to zero."""
    return x.masked_fill(gone.view(-1, *(1 for _ in x.shape[1:])), 0)


def joined(parts: Sequence[Tensor], like: Tensor) -> Tensor:
    """Results of the pieces of a batch, which may have none."""
    return torch.cat(list(parts)) if parts else like.new_zeros(0, dtype=torch.float64)


def sum_of(parts: Iterable[Tensor]) -> Tensor:
    """Sum of tensors; there is at least one."""
    first, *rest = parts
    for part in rest:
        first = first + part
    return first


def pieces(batch: int, numbers: int) -> Iterator[slice]:
    """Even cuts of a batch whose examples need ``numbers`` each, so that no piece keeps more than ``KEPT``."""
    count = math.ceil(batch / max(1, KEPT // max(1, math.ceil(numbers))))
    size = math.ceil(batch / max(1, count))
    return (slice(start, start + size) for start in range(0, batch, max(1, size)))
