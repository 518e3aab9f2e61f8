"""Helpers that shape values of examples and of pixels to broadcast over images."""

import torch
from torch import Tensor


def expand_rows(values: Tensor, like: Tensor) -> Tensor:
    """One value per example (n,), shaped to broadcast over (n, *S)."""
    return values.view(-1, *[1] * (like.dim() - 1))


def channels_by_pixel(values: Tensor) -> Tensor:
    """Return values of coordinates (n, *S) by channel and pixel (n, C, P).

    In images (n, C, H, W), all channels at one position are one pixel.
    """
    return values.flatten(2) if values.dim() == 4 else values.flatten(1)[:, None]


def expand_pixels(pixels: Tensor, like: Tensor) -> Tensor:
    """One value per pixel (n, P), shaped to broadcast over (n, *S)."""
    return pixels.view(len(like), 1, *like.shape[2:]) if like.dim() == 4 else pixels.view_as(like)


def top_k_mask(values: Tensor, count: int | Tensor) -> Tensor:
    """Return a mask of the ``count`` largest values of each row (n, P), the first of equals.

    The count is one number, or one for each row (n,).
    """
    if isinstance(count, Tensor):
        # rank of every entry by inverting the argsort; ranks below count are in the top k, of equals the
        # first
        order = values.argsort(dim=1, descending=True, stable=True)
        ranks = torch.arange(values.shape[1], device=values.device).expand_as(values)
        return torch.empty_like(order).scatter_(1, order, ranks) < count[:, None]
    if count <= 0 or not values.numel():
        return torch.zeros_like(values, dtype=torch.bool)
    if count >= values.shape[1]:
        return torch.ones_like(values, dtype=torch.bool)
    least = values.topk(count, dim=1).values[:, -1:]
    above, equal = values > least, values == least
    return above | (equal & (equal.cumsum(1) <= count - above.sum(1, keepdim=True)))


def where_rows(mask: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return the rows of ``first`` where the mask (n,) is True, else of ``second``."""
    return torch.where(expand_rows(mask, first), first, second)


def rows_differ(a: Tensor, b: Tensor) -> Tensor:
    """Whether two points (n, *S) of each example differ anywhere (n,)."""
    return (a != b).flatten(1).any(1)
