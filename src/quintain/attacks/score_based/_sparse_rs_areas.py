"""Sparse-RS over areas: a sticker that changes colors and place, and a shape that changes colors."""

from collections.abc import Sequence

import torch
from torch import Tensor

from quintain.attacks.score_based.random_search_loop import random_search_loop
from quintain.attacks.score_based.windows import (
    image_dims,
    random_extremes,
    sparse_rs_schedule,
    stripes,
    window_offsets,
    window_shape,
)
from quintain.attacks.search import Search
from quintain.threats.mask import Mask
from quintain.threats.patch import Patch
from quintain.threats.shapes import shape_mask

PATCH_FRACTION, SHAPE_FRACTION = 0.4, 0.5
"""Fraction of a sticker's or a shape's pixels that get another color at first."""

MAX_SHIFT = 0.75
"""How far a sticker moves at first, as a fraction of the image's height and width."""

MOVE_EVERY = (4, 10)
"""Every how many queries the place of a sticker is changed, without a target and with one."""


def search_patch(search: Search, threat: Patch, queries: int) -> None:
    """Run random search over the colors of a sticker, and over its place where that is free."""
    rows = search.active_rows
    if not len(rows):
        return
    clean, aimed = search.x[rows], search.goal.targets is not None
    height, width = threat.patch_size(clean)
    channels, free = clean.shape[1], threat.position is None and not threat.shape
    covered = (
        shape_mask(threat.shape, height, width)
        if threat.shape
        else torch.ones(height, width, dtype=torch.bool)
    )
    spots, high = covered.flatten().nonzero().squeeze(1).to(rows.device), covered.to(clean)
    low = torch.zeros_like(high)

    def propose(
        step: int, progress: float, state: tuple[Tensor], constants: tuple[Tensor], uniforms: Tensor
    ) -> tuple[Tensor]:
        params = threat.unpack(*state, *constants)
        if free and step % MOVE_EVERY[aimed] == 0:
            corner = propose_position(
                threat.top_left(params.position, *constants),
                progress,
                (height, width),
                constants[0].shape[2:],
                uniforms,
            )
            return (threat.pack(params._replace(position=threat.position_of(corner, *constants))),)
        pixels = propose_colors(
            params.pixels, low, high, sparse_rs_schedule(PATCH_FRACTION, progress), spots, uniforms
        )
        return (threat.pack(params._replace(pixels=pixels)),)

    coarse = (
        search.rng.fold_in("colours")
        .select(rows)
        .uniform(torch.empty(len(rows), channels, 4, 4, device=rows.device))
        < 0.5
    )
    down, across = (torch.arange(side, device=rows.device) * 4 // side for side in (height, width))
    start = threat.unpack(threat.sample(clean, search.rng.fold_in("place").select(rows)), clean)
    random_search_loop(
        search,
        rows=rows,
        state=(threat.pack(start._replace(pixels=torch.where(coarse[:, :, down][..., across], low, high))),),
        constants=(clean,),
        propose=propose,
        uniforms_per_step=4 + channels,
        rng=search.rng,
        queries=queries,
        loss=search.goal.log_odds if aimed else search.goal.margin,
    )


def search_mask(search: Search, threat: Mask, queries: int) -> None:
    """Run random search over the colors of a shape, at the ends of the range of each of its pixels."""
    rows = search.active_rows
    channels, height, width = image_dims(search.x.shape[1:])
    spots = shape_mask(threat.shape, height, width).to(rows.device).flatten().nonzero().squeeze(1)
    if not (len(rows) and len(spots) and threat.eps):
        return
    low, high = threat.bounds(search.x[rows])

    def propose(
        _: int, progress: float, state: tuple[Tensor], constants: tuple[Tensor, Tensor], uniforms: Tensor
    ) -> tuple[Tensor]:
        return (
            propose_colors(*state, *constants, sparse_rs_schedule(SHAPE_FRACTION, progress), spots, uniforms),
        )

    random_search_loop(
        search,
        rows=rows,
        state=(stripes(low, high, search.rng.fold_in("start").select(rows)),),
        constants=(low, high),
        propose=propose,
        uniforms_per_step=4 + channels,
        rng=search.rng,
        queries=queries,
        loss=search.goal.log_odds if search.goal.targets is not None else search.goal.margin,
    )


def propose_colors(
    z: Tensor, low: Tensor, high: Tensor, area_fraction: float, spots: Tensor, uniforms: Tensor
) -> Tensor:
    """Return the next colors (n, *S): a window that holds one of the spots gets another color.

    A window of a single pixel changes in one channel only.

    Args:
        z: Current colors (n, *S).
        low, high: The ends of their ranges, of a shape that broadcasts to theirs.
        area_fraction: Of the spots, how many the window would hold if they were all the area.
        spots: The pixels where a change shows (k,).
        uniforms: Uniform in [0, 1] (n, 4 + C).
    """
    channels, height, width = image_dims(z.shape[1:])
    window_height, window_width = window_shape(area_fraction * len(spots) / (height * width), height, width)
    # a window around a random pixel of the shape; a single pixel changes in one channel only
    middle = spots[(uniforms[:, 0] * len(spots)).long().clamp(max=len(spots) - 1)]
    top = (middle // width - (uniforms[:, 1] * window_height).long()).clamp(0, height - window_height)
    left = (middle % width - (uniforms[:, 2] * window_width).long()).clamp(0, width - window_width)
    window = ((top * width + left)[:, None] + window_offsets(window_height, window_width, width, z.device))[
        :, None
    ].expand(-1, channels, -1)
    old, least, most = (
        part.expand(z.shape).reshape(len(z), channels, -1).gather(2, window) for part in (z, low, high)
    )
    if window_height * window_width == 1:
        changed_channel = (uniforms[:, 3, None] * channels).long().clamp(max=channels - 1) == torch.arange(
            channels, device=z.device
        )
        new = torch.where(changed_channel[..., None], torch.where(old == least, most, least), old)
    else:
        new = random_extremes(old, uniforms[:, 4:, None] < 0.5, least, most, (1, 2))
    return z.reshape(len(z), channels, -1).scatter(2, window, new).view(z.shape)


def propose_position(
    corner: Tensor, progress: float, sides: Sequence[int], image_sides: Sequence[int], uniforms: Tensor
) -> Tensor:
    """Return other top left pixels (n, 2) of stickers, within a reach that falls with the progress.

    Args:
        corner: Current ones (n, 2).
        progress: Fraction of the queries that are spent.
        sides, image_sides: Height and width of sticker and image.
        uniforms: Uniform in [0, 1] (n, at least 2).
    """
    max_shift, free = (
        corner.new_tensor([max(1, int(MAX_SHIFT * (1 - progress) * side)) for side in image_sides]),
        corner.new_tensor([whole - side for whole, side in zip(image_sides, sides, strict=True)]),
    )
    # a shift of at most 0.75 (1 - progress) of the image, never zero, kept inside
    shift = torch.minimum((uniforms[:, :2] * (2 * max_shift + 1)).long(), 2 * max_shift) - max_shift
    shift = shift + (shift == 0).all(1, keepdim=True)
    return torch.minimum((corner + shift).clamp(min=0), free)
