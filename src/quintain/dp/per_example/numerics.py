"""Norms and products of per-example rows, in the dtype of the data with results in float64."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

MAX_WORKING_SET = 1 << 20
"""Numbers that are worked on at a time, about what a cache holds; larger gradients are built in slices."""

SUM_BLOCK = 256
"""Numbers whose squares are added in the dtype of the data."""

SPLIT_WEIGHT_BELOW = 1e-12
"""Weights below it multiply both factors of a product by their root, against underflow."""


def squared_norms_of_rows(x: Tensor) -> Tensor:
    """Squared Euclidean norm of each row of (B, ...), in float64, and never too small.

    A little is added for what squares of very small numbers lose.
    """
    rows, finfo = flatten_examples(x), torch.finfo(x.dtype)
    # norms of blocks in the dtype of the data (fast), their squares added in float64 (exact enough)
    even = rows.shape[1] - rows.shape[1] % SUM_BLOCK

    def block_norms(part: Tensor) -> Tensor:
        return torch.linalg.vector_norm(part, dim=-1).double().square()

    def compute(rows: Tensor) -> Tensor:
        if not even:
            return block_norms(rows)
        total = block_norms(rows[:, :even].unflatten(1, (-1, SUM_BLOCK))).sum(1)
        return total if even == rows.shape[1] else total + block_norms(rows[:, even:])

    # squares below the least normal number are lost: at most this much
    return in_float64_on_overflow(compute, rows) + rows.shape[1] * finfo.tiny / finfo.eps


def flatten_examples(x: Tensor) -> Tensor:
    """The tensor as (B, numbers); for parameters without dimensions (B, 1)."""
    return x.flatten(1) if x.dim() > 1 else x[:, None]


def position_norms(x: Tensor) -> Tensor:
    """The norm at each position of (B, T, width): (B, T) float64."""
    return squared_norms_of_rows(x.flatten(0, 1)).sqrt().view(x.shape[:2])


def in_float64_on_overflow(compute: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """The result in float64, computed in the dtype of the data unless that overflows."""
    result = compute(*rows).double()
    return result if math.isfinite(result.sum()) else compute(*(x.double() for x in rows))


def rowwise_dot(one: Tensor, other: Tensor) -> Tensor:
    """Inner product of each pair of rows, (B,)."""
    return torch.linalg.vecdot(flatten_examples(one), flatten_examples(other))


def ghost_norm_and_scale(gram_a: Tensor, gram_g: Tensor) -> Tensor:
    r"""Return squared ghost norms and their scale (B, 2) from Gram matrices of inputs, gradients (B, T, T).

    Column 0 is :math:`\langle A A^\top, G G^\top \rangle = \|\sum_t g_t a_t^\top\|^2`; column 1 the norm that
    there would be if no positions cancelled, :math:`\sum_t \|a_t\| \|g_t\|`, from the diagonals. The rounding
    margin follows from column 1. Its squares are clamped from below, since those of tiny numbers underflow to
    zero.
    """
    finfo = torch.finfo(gram_a.dtype)
    scales = (
        gram.diagonal(dim1=1, dim2=2).clamp(min=finfo.tiny / finfo.eps).sqrt() for gram in (gram_a, gram_g)
    )
    return torch.stack([rowwise_dot(gram_a, gram_g), rowwise_dot(*scales)], 1)


def apply_weights(a: Tensor, g: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The two factors of outer products, multiplied by the examples' weights (B,)."""
    # the factor with fewer numbers takes the weight; where some weights are tiny both take its square root,
    # because weight times one factor could underflow while the other is large
    if ((weights > 0) & (weights < SPLIT_WEIGHT_BELOW)).any():
        root = broadcast_to_rows(weights.sqrt(), a)
        return a * root, g * broadcast_to_rows(root, g)
    return (
        (a * broadcast_to_rows(weights, a), g)
        if a.numel() <= g.numel()
        else (a, g * broadcast_to_rows(weights, g))
    )


def broadcast_to_rows(weights: Tensor, x: Tensor) -> Tensor:
    """Weights (B,) in the dtype of ``x`` and with its dimensions, to multiply ``x`` (B, ...) by."""
    return weights.to(x.dtype).view(-1, *(1 for _ in x.shape[1:]))


def zero_rows(x: Tensor, mask: Tensor) -> Tensor:
    """The tensor with masked rows set to zero."""
    return x.masked_fill(mask.view(-1, *(1 for _ in x.shape[1:])), 0)


def concat_or_empty(parts: Sequence[Tensor], like: Tensor) -> Tensor:
    """The results of all slices of a batch, which may be empty."""
    return torch.cat(list(parts)) if parts else like.new_zeros(0, dtype=torch.float64)


def sum_tensors(parts: Iterable[Tensor]) -> Tensor:
    """The sum of tensors, of which there is at least one."""
    first, *rest = parts
    for part in rest:
        first = first + part
    return first


def batch_slices(batch: int, numbers_per_example: int) -> Iterator[slice]:
    """Even slices of a batch whose examples need so many numbers each, none above ``MAX_WORKING_SET``."""
    count = math.ceil(batch / max(1, MAX_WORKING_SET // max(1, math.ceil(numbers_per_example))))
    size = math.ceil(batch / max(1, count))
    return (slice(start, start + size) for start in range(0, batch, max(1, size)))
