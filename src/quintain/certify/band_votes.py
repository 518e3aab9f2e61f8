"""Votes of the bands of an image, and what is left of them where a sticker covers some bands."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.threats.mask import Mask
from quintain.threats.patch import Patch
from quintain.threats.shapes import shape_mask_like
from quintain.threats.threat import Threat


@dataclass(frozen=True, slots=True)
class Bands:
    """Bands of an image of which the rest is ablated, on a ring: one begins at each row and column.

    Args:
        height, width: Of the images, in pixels.
        rows, columns: Of a band; all rows for a band of columns, which then begins at row 0 alone.
    """

    height: int
    width: int
    rows: int
    columns: int

    @staticmethod
    def of(shape: torch.Size, kind: str, size: int) -> "Bands":
        """Return the bands of images (B, C, H, W): bands of ``size`` columns, or blocks of that side."""
        height, width = shape[-2:]
        return Bands(height, width, height if kind == "column" else min(size, height), min(size, width))

    @property
    def tops(self) -> int:
        """At how many rows a band begins: one where it has all rows."""
        return 1 if self.rows == self.height else self.height

    @property
    def lefts(self) -> int:
        """At how many columns a band begins."""
        return 1 if self.columns == self.width else self.width

    @property
    def count(self) -> int:
        """How many bands an image has."""
        return self.tops * self.lefts

    def visible(self, index: Tensor) -> Tensor:
        """Return which pixels (n, H, W) the bands of some numbers (n,) show; they wrap around the edges."""
        top, left = index // self.lefts, index % self.lefts
        down = (torch.arange(self.height, device=index.device) - top[:, None]) % self.height < self.rows
        right = (torch.arange(self.width, device=index.device) - left[:, None]) % self.width < self.columns
        return down[:, :, None] & right[:, None, :]

    def overlapping(self, mask: Tensor) -> Tensor:
        """Return which bands (T, L) show any pixel of a mask (H, W)."""
        hit = _ring_sums(mask.long(), 0, torch.arange(self.tops), self.rows)
        return _ring_sums(hit, 1, torch.arange(self.lefts), self.columns) > 0

    def overlap_range(self, places: range, size: int, axis: int) -> tuple[Tensor, int]:
        """Return which bands show any of ``size`` pixels along an axis, from each place on.

        Returns:
            The first band of each place (n,), on the ring, and how many follow with it.
        """
        shown, length = ((self.rows, self.height), (self.columns, self.width))[axis]
        if shown == length:  # one band shows all
            return torch.zeros(1, dtype=torch.long), 1
        return torch.tensor(places) - shown + 1, min(size + shown - 1, length)


def _ring_sums(values: Tensor, axis: int, starts: Tensor, size: int) -> Tensor:
    """Sum ``size`` neighbors from each start on along one axis, around the ring."""
    length = values.shape[axis]
    index = (starts[:, None] + torch.arange(size)) % length
    return (
        values.index_select(axis, index.flatten().to(values.device))
        .unflatten(axis, index.shape)
        .sum(axis + 1)
    )


def remaining_votes(votes: Tensor, bands: Bands, threat: Threat, x: Tensor) -> tuple[Tensor, int]:
    """Return the votes that a sticker cannot touch, by its n places (B, n, K), and how many bands it can.

    Args:
        votes: Whether each band votes for each class (B, T * L, K).
        bands: Of the images.
        threat: A sticker, of any place or of one, or a mask.
        x: Images (B, C, H, W).

    Raises:
        SettingError: For another threat.
    """
    grid = votes.unflatten(1, (bands.tops, bands.lefts)).int()
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
    # The bands that a sticker touches are a rectangle on the ring: sums along one axis after the other.
    rows, columns = (bands.overlap_range(places[axis], sides[axis], axis) for axis in (0, 1))
    lost = _ring_sums(_ring_sums(grid, 1, *rows), 2, *columns)
    return grid.sum((1, 2))[:, None] - lost.flatten(1, 2), rows[1] * columns[1]


def smallest_gap(votes: Tensor, y: Tensor, bands: Bands, threat: Threat, x: Tensor) -> Tensor:
    r"""Return how many votes the label is ahead of every other class in the worst case (B,), in float64.

    .. math:: \min_{p, j \ne y}\; n_y(p) - n_j(p) - D + \tfrac12 [y < j]

    where the sticker at place p touches D bands, which may all vote for class j and not for y, and n(p)
    counts the votes of the others. Half a vote stands for a tie, which the smaller class wins: the
    prediction is y in the worst case exactly where the gap is above 0.

    It is at least the bound of Levine and Feizi, which takes 2 D off the gap of all votes.

    Args:
        votes, bands, threat, x: As of ``remaining_votes``.
        y: Labels (B,).
    """
    left, touched = remaining_votes(votes, bands, threat, x)
    classes = torch.arange(votes.shape[2], device=y.device)
    wins_tie = (y[:, None] < classes).double() / 2
    own = left.gather(2, y[:, None, None].expand(-1, left.shape[1], 1))
    gap = (own - left).double() - touched + wins_tie[:, None]
    return gap.masked_fill((y[:, None] == classes)[:, None], math.inf).amin((1, 2))
