"""Sparse-RS over areas: a sticker that changes its colours and its place, and a shape that changes its colours."""

from collections.abc import Sequence

import torch
from torch import Tensor

from quintain.attacks.scores.walk import walk
from quintain.attacks.scores.window import divided, extent, other_end, planes, stripes, within
from quintain.attacks.search import Search
from quintain.threats.mask import Mask
from quintain.threats.patch import Patch
from quintain.threats.shapes import shape

STICKER, SHAPE = 0.4, 0.5
"""Which share of a sticker's or a shape's pixels gets another colour at first."""

REACH = 0.75
"""How far a sticker moves at first, as a share of the picture's height and width."""

EVERY = (4, 10)
"""Every how many questions the place of a sticker is changed, without a target and with one."""


def search_sticker(search: Search, threat: Patch, questions: int) -> None:
    """Random search over the colours of a sticker, and over its place where that is free."""
    rows = search.rows
    if not len(rows):
        return
    clean, aimed = search.x[rows], search.goal.targets is not None
    height, width = threat.sides(clean)
    channels, free = clean.shape[1], threat.place is None and not threat.shape
    there = shape(threat.shape, height, width) if threat.shape else torch.ones(height, width, dtype=torch.bool)
    spots, high = there.flatten().nonzero().squeeze(1).to(rows.device), there.to(clean)
    low = torch.zeros_like(high)

    def propose(question: int, progress: float, state: tuple[Tensor], fixed: tuple[Tensor], numbers: Tensor) -> tuple[Tensor]:
        sticker = threat.split(*state, *fixed)
        if free and question % EVERY[aimed] == 0:
            corner = shifted(threat.corner(sticker.place, *fixed), progress, (height, width), fixed[0].shape[2:], numbers)
            return (threat.join(sticker._replace(place=threat.place_of(corner, *fixed))),)
        pixels = recoloured(sticker.pixels, low, high, divided(STICKER, progress), spots, numbers)
        return (threat.join(sticker._replace(pixels=pixels)),)

    coarse = search.draw.at("colours").of(rows).uniform(torch.empty(len(rows), channels, 4, 4, device=rows.device)) < 0.5
    down, across = (torch.arange(side, device=rows.device) * 4 // side for side in (height, width))
    start = threat.split(threat.sample(clean, search.draw.at("place").of(rows)), clean)
    walk(
        search,
        rows=rows,
        state=(threat.join(start._replace(pixels=torch.where(coarse[:, :, down][..., across], low, high))),),
        fixed=(clean,),
        propose=propose,
        numbers=4 + channels,
        draw=search.draw,
        questions=questions,
        loss=search.goal.log_odds if aimed else search.goal.margin,
    )


def search_shape(search: Search, threat: Mask, questions: int) -> None:
    """Random search over the colours of a shape, at the ends of the range of each of its pixels."""
    rows = search.rows
    channels, height, width = planes(search.x.shape[1:])
    spots = shape(threat.shape, height, width).to(rows.device).flatten().nonzero().squeeze(1)
    if not (len(rows) and len(spots) and threat.eps):
        return
    low, high = threat.bounds(search.x[rows])

    def propose(_: int, progress: float, state: tuple[Tensor], fixed: tuple[Tensor, Tensor], numbers: Tensor) -> tuple[Tensor]:
        return (recoloured(*state, *fixed, divided(SHAPE, progress), spots, numbers),)

    walk(
        search,
        rows=rows,
        state=(stripes(low, high, search.draw.at("start").of(rows)),),
        fixed=(low, high),
        propose=propose,
        numbers=4 + channels,
        draw=search.draw,
        questions=questions,
        loss=search.goal.log_odds if search.goal.targets is not None else search.goal.margin,
    )


def recoloured(z: Tensor, low: Tensor, high: Tensor, share: float, spots: Tensor, numbers: Tensor) -> Tensor:
    """The next colours (n, *S): a window that holds one of the spots gets another colour, a single pixel in one channel only.

    Args:
        z: Current colours (n, *S).
        low, high: The ends of their ranges, of a shape that broadcasts to theirs.
        share: Of the spots, how many the window would hold if they were all the area.
        spots: The pixels where a change shows (k,).
        numbers: Uniform in [0, 1] (n, 4 + C).
    """
    channels, height, width = planes(z.shape[1:])
    tall, wide = extent(share * len(spots) / (height * width), height, width)
    middle = spots[(numbers[:, 0] * len(spots)).long().clamp(max=len(spots) - 1)]
    top = (middle // width - (numbers[:, 1] * tall).long()).clamp(0, height - tall)
    left = (middle % width - (numbers[:, 2] * wide).long()).clamp(0, width - wide)
    window = ((top * width + left)[:, None] + within(tall, wide, width, z.device))[:, None].expand(-1, channels, -1)
    old, least, most = (part.expand(z.shape).reshape(len(z), channels, -1).gather(2, window) for part in (z, low, high))
    if tall * wide == 1:
        turned = (numbers[:, 3, None] * channels).long().clamp(max=channels - 1) == torch.arange(channels, device=z.device)
        new = torch.where(turned[..., None], torch.where(old == least, most, least), old)
    else:
        new = other_end(old, numbers[:, 4:, None] < 0.5, least, most, (1, 2))
    return z.reshape(len(z), channels, -1).scatter(2, window, new).view(z.shape)


def shifted(corner: Tensor, progress: float, sides: Sequence[int], picture: Sequence[int], numbers: Tensor) -> Tensor:
    """Other top left pixels (n, 2) of stickers, as far away as the reach goes, which falls with the progress.

    Args:
        corner: Current ones (n, 2).
        progress: Share of the questions that are spent.
        sides, picture: Height and width of sticker and picture.
        numbers: Uniform in [0, 1] (n, at least 2).
    """
    reach, free = (
        corner.new_tensor([max(1, int(REACH * (1 - progress) * side)) for side in picture]),
        corner.new_tensor([whole - side for whole, side in zip(picture, sides, strict=True)]),
    )
    shift = torch.minimum((numbers[:, :2] * (2 * reach + 1)).long(), 2 * reach) - reach
    shift = shift + (shift == 0).all(1, keepdim=True)
    return torch.minimum((corner + shift).clamp(min=0), free)
