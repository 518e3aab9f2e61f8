"""Votes of the bands of an image, and how many of them a sticker cannot change."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.core.errors import DataError, SettingError
from quintain.threats.mask import Mask
from quintain.threats.patch import Patch
from quintain.threats.shapes import shape_mask_like
from quintain.threats.threat import Threat


@dataclass(frozen=True, slots=True)
class Bands:
    """The bands of an image: each shows some neighboring rows and columns; the rest of the image is ablated.

    A band begins at each row and at each column, and wraps around the image's edges. A band of all rows
    begins at row 0 only, and one of all columns at column 0 only. Bands are numbered row by row of their
    starts.

    Args:
        height, width: Size of the images, in pixels.
        rows, columns: Size of a band, in pixels.
    """

    height: int
    width: int
    rows: int
    columns: int

    @staticmethod
    def of(shape: torch.Size, kind: str, size: int) -> "Bands":
        """Return the bands of images (B, C, H, W): bands of ``size`` columns, or blocks of that side.

        Raises:
            DataError: If the shape is that of vectors.
        """
        if len(shape) < 3:
            raise DataError(f"inputs of shape {tuple(shape)}; expected images (B, C, H, W), which have bands")
        height, width = shape[-2:]
        return Bands(height, width, height if kind == "column" else min(size, height), min(size, width))

    @property
    def num_tops(self) -> int:
        """Number T of rows at which a band begins."""
        return 1 if self.rows == self.height else self.height

    @property
    def num_lefts(self) -> int:
        """Number L of columns at which a band begins."""
        return 1 if self.columns == self.width else self.width

    @property
    def count(self) -> int:
        """Number of bands of an image, T * L."""
        return self.num_tops * self.num_lefts

    def visible(self, index: Tensor) -> Tensor:
        """Return which pixels (n, H, W) are shown by the bands with the numbers ``index`` (n,)."""
        top, left = index // self.num_lefts, index % self.num_lefts
        down = (torch.arange(self.height, device=index.device) - top[:, None]) % self.height < self.rows
        right = (torch.arange(self.width, device=index.device) - left[:, None]) % self.width < self.columns
        return down[:, :, None] & right[:, None, :]

    def overlapping(self, mask: Tensor) -> Tensor:
        """Return which bands (T, L) show any pixel of a mask (H, W)."""
        # a band that begins at t shows the rows t, ..., t + rows - 1 of the ring, and likewise columns
        hit = _ring_sums(mask.long(), 0, torch.arange(self.num_tops), self.rows)
        return _ring_sums(hit, 1, torch.arange(self.num_lefts), self.columns) > 0

    def overlap_range(self, places: range, size: int, axis: int) -> tuple[Tensor, int]:
        """Return where along an axis the bands begin that show a pixel of a sticker.

        Args:
            places: First pixels that the sticker may have along the axis.
            size: Its number of pixels along the axis.
            axis: 0 for rows, 1 for columns.

        Returns:
            For each place (n,) the first start of such a band, negative where it wraps around the edge; and
            the number of starts in a row.
        """
        shown, length = ((self.rows, self.height), (self.columns, self.width))[axis]
        if shown == length:  # one band shows all, so that places do not differ
            return torch.zeros(1, dtype=torch.long), 1
        return torch.tensor(places) - shown + 1, min(size + shown - 1, length)


def _ring_sums(values: Tensor, axis: int, starts: Tensor, size: int) -> Tensor:
    """Sum ``size`` neighboring values from each start on along one axis, which wraps around."""
    length = values.shape[axis]
    index = (starts[:, None] + torch.arange(size)) % length
    return (
        values.index_select(axis, index.flatten().to(values.device))
        .unflatten(axis, index.shape)
        .sum(axis + 1)
    )


def remaining_votes(votes: Tensor, bands: Bands, threat: Threat, x: Tensor) -> tuple[Tensor, int]:
    """Count the votes of the bands that a sticker does not touch.

    Args:
        votes: Whether each band votes for each class (B, T * L, K).
        bands: The bands of the images.
        threat: A sticker at any place or at a fixed one, or a mask.
        x: Images (B, C, H, W).

    Returns:
        The votes (B, n, K) for each of the sticker's n places, and the number of bands that it touches, which
        is the same at each place.

    Raises:
        SettingError: For another threat.
    """
    grid = votes.unflatten(1, (bands.num_tops, bands.num_lefts)).int()
    if isinstance(threat, Mask) or (isinstance(threat, Patch) and threat.shape):
        touched = bands.overlapping(shape_mask_like(threat.shape, x).reshape(x.shape[-2:]))
        return (grid * ~touched[..., None]).sum((1, 2))[:, None], int(touched.sum())
    if not isinstance(threat, Patch):
        raise SettingError(f"ablation certifies stickers and masks; got {threat!r}")
    sides = threat.patch_size(x)
    if threat.position is None:
        places = [range(length - side + 1) for length, side in zip(x.shape[-2:], sides, strict=True)]
    else:
        at = threat.top_left(x.new_tensor([threat.position]), x)[0].tolist()
        places = [range(first, first + 1) for first in at]
    # The starts of the bands that a sticker touches are a rectangle: sum along one axis after the other.
    rows, columns = (bands.overlap_range(places[axis], sides[axis], axis) for axis in (0, 1))
    lost = _ring_sums(_ring_sums(grid, 1, *rows), 2, *columns)
    return grid.sum((1, 2))[:, None] - lost.flatten(1, 2), rows[1] * columns[1]


def smallest_gap(votes: Tensor, y: Tensor, bands: Bands, threat: Threat, x: Tensor) -> Tensor:
    r"""Return by how many votes the label leads every other class in the worst case (B,), in float64.

    .. math:: \min_{p, j \ne y}\; n_y(p) - n_j(p) - D + \tfrac12 [y < j]

    where the sticker at place p touches D bands, all of which may vote for class j and not for y, and n(p)
    counts the votes of the other bands. The smaller class wins a tie, which is worth half a vote: in the
    worst case the prediction is y exactly where the gap is above 0.

    The gap is never below the bound of Levine and Feizi (2020, arXiv:2002.10733), which subtracts 2 D from
    the gap of all votes.

    Args:
        votes, bands, threat, x: As for ``remaining_votes``.
        y: Labels (B,).
    """
    left, touched = remaining_votes(votes, bands, threat, x)
    classes = torch.arange(votes.shape[2], device=y.device)
    wins_tie = (y[:, None] < classes).double() / 2
    own = left.gather(2, y[:, None, None].expand(-1, left.shape[1], 1))
    gap = (own - left).double() - touched + wins_tie[:, None]
    return gap.masked_fill((y[:, None] == classes)[:, None], math.inf).amin((1, 2))
