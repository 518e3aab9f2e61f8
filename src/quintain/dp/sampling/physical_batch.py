"""A physical batch: the part of a logical batch that is in memory at once."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quintain.core.errors import PrivacyError

Indices = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class PhysicalBatch:
    """A part of one logical batch, or all of it, as the user holds it.

    Args:
        batch_number: Number of the logical batch, from 1.
        rows: Of the data set, (R,).
        end: The row of the logical batch at which this part ends.
        logical_batch_size: Rows of the whole logical batch, of this process.
        rows_per_unit: Number of rows of each unit, in order, (U,); None if each row is clipped by itself.
        unit_weights: Weight of each row of a unit before the unit is clipped, (U,).
    """

    batch_number: int
    rows: Indices
    end: int
    logical_batch_size: int
    rows_per_unit: Indices | None = None
    unit_weights: Weights | None = None

    @property
    def is_first(self) -> bool:
        """Whether the logical batch begins with it."""
        return self.end == len(self.rows)

    @property
    def is_last(self) -> bool:
        """Whether it completes the logical batch; an empty batch is one empty physical batch."""
        return self.end == self.logical_batch_size

    @property
    def unit_ids(self) -> Indices | None:
        """The unit of each row, ascending from 0, (R,); None if each row is clipped by itself."""
        return (
            None
            if self.rows_per_unit is None
            else np.repeat(np.arange(len(self.rows_per_unit)), self.rows_per_unit)
        )

    def split(self, max_rows: int | None) -> Iterator["PhysicalBatch"]:
        """Split a whole batch into physical batches of whole units.

        Args:
            max_rows: Of each; None where all may be in memory at once.

        Raises:
            PrivacyError: If a unit has more rows than that.
        """
        size = len(self.rows)
        if max_rows is None or size <= max_rows:
            yield self
            return
        counts, weights = self.rows_per_unit, self.unit_weights
        ends = np.arange(1, size + 1) if counts is None else np.cumsum(counts)
        # as many whole units as fit: ``start`` and ``unit`` are the first row and the first unit of the piece
        start = unit = 0
        while start < size:
            stop = int(np.searchsorted(ends, start + max_rows, side="right"))
            if stop == unit:
                raise PrivacyError(
                    f"a unit of {ends[unit] - start} rows does not fit into a physical batch of "
                    f"{max_rows}, and must not be cut: its records "
                    "are clipped together; expected a larger max_physical_batch_size, or PrivacyUnits(..., "
                    "max_records_per_unit=)"
                )
            end, part = int(ends[stop - 1]), slice(unit, stop)
            groups = (None, None) if counts is None or weights is None else (counts[part], weights[part])
            yield PhysicalBatch(self.batch_number, self.rows[start:end], end, size, *groups)
            start, unit = end, stop

    def is_continuation_of(self, other: "PhysicalBatch") -> bool:
        """Whether it is the next part of the same logical batch."""
        return self.batch_number == other.batch_number and self.end - len(self.rows) == other.end


NO_BATCH = PhysicalBatch(0, np.zeros(0, dtype=np.int64), 0, 0)
"""The physical batch before the first one."""
