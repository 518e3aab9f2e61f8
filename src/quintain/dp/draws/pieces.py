"""A part of one batch: what the loader hands out and the optimizer asks about."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A part of one batch, or all of it, as the user holds it.

    Args:
        draw: Number of the batch, from 1.
        rows: Of the data set, (R,).
        done: Rows of the batch up to the end of this piece.
        size: Rows of the batch, of this process.
        counts: Rows of each unit in turn, (U,); None if each row is clipped by itself.
        shares: What each row of a unit is multiplied by before the unit is clipped, (U,).
    """

    draw: int
    rows: Indices
    done: int
    size: int
    counts: Indices | None = None
    shares: Shares | None = None

    @property
    def first(self) -> bool:
        """Whether the batch begins with it."""
        return self.done == len(self.rows)

    @property
    def last(self) -> bool:
        """Whether it completes the batch; an empty batch is one empty piece."""
        return self.done == self.size

    @property
    def owners(self) -> Indices | None:
        """Unit of each row, ascending from 0, (R,); None if each row is clipped by itself."""
        return None if self.counts is None else np.repeat(np.arange(len(self.counts)), self.counts)

    def follows(self, other: "Piece") -> bool:
        """Whether it is the next one of the same batch."""
        return self.draw == other.draw and self.done - len(self.rows) == other.done


NOTHING = Piece(0, np.zeros(0, dtype=np.int64), 0, 0)
"""In hand before the first batch."""
