"""Rectangles of pixels at random places, each example its own, by index arithmetic: no example waits for another."""

import math
from bisect import bisect_left
from collections.abc import Sequence

import torch
from torch import Size, Tensor


def planes(shape: Size) -> tuple[int, int, int]:
    """Channels, height and width of an input; what is no image (C, H, W) is one row of pixels."""
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 else (1, 1, shape.numel())


def halved(start: float, progress: float, moments: Sequence[float]) -> float:
    """A share that is halved at each of the moments (shares of the questions) that are over."""
    return start / 2.0 ** bisect_left(moments, progress)


def extent(share: float, height: int, width: int) -> tuple[int, int]:
    """Height and width of a square that covers a share of an image; a rectangle where the image is too narrow for it."""
    side = max(1, round(math.sqrt(share * height * width)))
    short = min(side, height, width)
    long = side if short == side else min(max(height, width), round(share * height * width / short))
    return (short, long) if height <= width else (long, short)


def cells(place: Tensor, tall: int, wide: int, height: int, width: int) -> Tensor:
    """The pixels (n, tall * wide), numbered row by row, of windows placed by two uniform numbers each (n, 2): every place is as likely."""
    room = place.new_tensor([height - tall + 1, width - wide + 1])
    top, left = torch.minimum((place * room).floor(), room - 1).long().unbind(1)
    inside = torch.arange(tall, device=place.device)[:, None] * width + torch.arange(wide, device=place.device)
    return (top * width + left)[:, None] + inside.flatten()
