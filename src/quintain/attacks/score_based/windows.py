"""Rectangles of pixels at random places by index arithmetic: no example waits for another."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Size, Tensor

from quintain.threats.rng import ExampleRNG

SCHEDULE_POINTS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
SCHEDULE_DIVISORS = (1, 2, 4, 5, 6, 8, 10, 12, 15, 20)
"""By what Sparse-RS divides, before the first and after each of the moments (fractions of the queries)."""


def image_dims(shape: Size) -> tuple[int, int, int]:
    """Return channels, height and width of an input (C, H, W) or (H, W).

    What is no image is one row of pixels.
    """
    if len(shape) in (2, 3):
        return (shape[0] if len(shape) == 3 else 1, shape[-2], shape[-1])
    return 1, 1, shape.numel()


def square_schedule(start: float, progress: float, schedule_points: Sequence[float]) -> float:
    """Return a fraction that is halved at each of the moments (fractions of the queries) that are over."""
    return start / 2.0 ** bisect_left(schedule_points, progress)


def sparse_rs_schedule(start: float, progress: float) -> float:
    """Return a fraction that Sparse-RS makes smaller as the queries are spent, by its published schedule."""
    return start / SCHEDULE_DIVISORS[bisect_left(SCHEDULE_POINTS, progress)]


def window_shape(area_fraction: float, height: int, width: int) -> tuple[int, int]:
    """Return height and width of a square that covers a fraction of an image.

    If the image is too narrow for the square, it is a rectangle.
    """
    # a square of the requested area; if it does not fit the short side, a rectangle of the same area
    side = max(1, round(math.sqrt(area_fraction * height * width)))
    short = min(side, height, width)
    long = side if short == side else min(max(height, width), round(area_fraction * height * width / short))
    return (short, long) if height <= width else (long, short)


def window_pixels(position: Tensor, window_height: int, window_width: int, height: int, width: int) -> Tensor:
    """Return the pixels (n, tall * wide), numbered row by row, of random windows.

    Two uniform numbers (n, 2) place each window; every position is equally likely.
    """
    top = (position[:, 0] * (height - window_height + 1)).long().clamp_(max=height - window_height)
    left = (position[:, 1] * (width - window_width + 1)).long().clamp_(max=width - window_width)
    return (top * width + left)[:, None] + window_offsets(window_height, window_width, width, position.device)


@lru_cache(maxsize=64)
def window_offsets(window_height: int, window_width: int, width: int, device: torch.device) -> Tensor:
    """Return the pixels (tall * wide,) of a window at the top left of an image, numbered row by row."""
    return (
        torch.arange(window_height, device=device)[:, None] * width
        + torch.arange(window_width, device=device)
    ).flatten()


def stripes(low: Tensor, high: Tensor, rng: ExampleRNG) -> Tensor:
    """Return points (n, *S) whose columns, each channel its own, are at one end of their range."""
    channels, height, width = image_dims(low.shape[1:])
    lower = rng.uniform(torch.empty(len(low), channels, 1, width, device=low.device)) < 0.5
    return torch.where(lower.expand(-1, -1, height, -1).reshape(low.shape), low, high)


def random_extremes(
    old: Tensor, lower: Tensor, least: Tensor, most: Tensor, together: tuple[int, ...]
) -> Tensor:
    """Return values at one end of their range, ``least`` where ``lower``.

    All are at the other end where that would change nothing.

    Args:
        old: Current values (n, C, k).
        lower: Which end is proposed, of a shape that broadcasts to theirs.
        least, most: The ends, likewise.
        together: The axes over which values are proposed, and turned round, together.
    """
    # a proposal equal to the current value would waste a query: take the other end
    new = torch.where(lower, least, most)
    same = (new == old).all(together, keepdim=True)
    return torch.where(lower ^ same, least, most)
