"""Rows that are zero outside a window, as a convolution's outputs have: only windows are computed with.

Rows with the same window form a group: all channels at one position of an image, in a convolution.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

MIN_GAIN = 4
"""How many times smaller than all values windows have to be, and fewer than rows their groups."""


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """A window for each group of rows.

    Args:
        columns: Positions among an operation's values, flattened, of each group (G, W); of small windows some
            are outside, where rows are 0.
        inside: Which values are in the window (G, n) bool.
    """

    columns: Tensor
    inside: Tensor

    @staticmethod
    def of(inside: Tensor) -> "Windows | None":
        """Return the windows of these values (G, n), if they are small enough to gain anything."""
        width = int(inside.sum(1).max())
        if not 0 < width * MIN_GAIN <= inside.shape[1]:
            return None
        return Windows(inside.float().topk(width, dim=1).indices, inside)

    def scatter(self, rows: Tensor, group: Tensor) -> Tensor:
        """Return rows (2, N, W) over windows as rows (2, N, n) over all values."""
        spread = rows.new_zeros(*rows.shape[:2], self.inside.shape[1])
        return spread.scatter_(2, self.columns[group].expand(len(rows), -1, -1), rows)


@dataclass(frozen=True, slots=True, eq=False)
class WindowedTable:
    """The Jacobian of an operation by windows of its rows.

    Args:
        windows: Of its groups.
        values: Each row at its window's columns (M, W).
        group: The group of each row (M,).
    """

    windows: Windows
    values: Tensor
    group: Tensor

    @staticmethod
    def of(jacobian: Tensor) -> "WindowedTable | None":
        """Return the table of a Jacobian (M, n), if its rows are few windows."""
        inside = jacobian != 0
        # rows of one pattern have one sum of random numbers; that others have another is checked
        generator = torch.Generator().manual_seed(0)
        numbers = torch.rand(inside.shape[1], dtype=torch.float64, generator=generator).to(jacobian.device)
        sums, group = (inside * numbers).sum(1).unique(return_inverse=True)
        first = torch.empty_like(group[: len(sums)]).scatter_(
            0, group, torch.arange(len(group), device=group.device)
        )
        patterns = inside[first]
        if len(patterns) * MIN_GAIN > len(jacobian) or not torch.equal(patterns[group], inside):
            return None
        windows = Windows.of(patterns)
        if windows is None:
            return None
        return WindowedTable(windows, jacobian.gather(1, windows.columns[group]), group)


@dataclass(frozen=True, slots=True, eq=False)
class WindowStep:
    """An affine operation on windowed rows: from windows of its values to windows of its source's.

    Args:
        windows: Of the source's values.
        blocks: The part of the Jacobian between the two windows of each group (G, W, V).
    """

    windows: Windows
    blocks: Tensor

    @staticmethod
    def of(windows: Windows, jacobian: Tensor) -> "WindowStep | None":
        """Return the step back through an operation, if the source's windows are small enough.

        Args:
            windows: Of the operation's values.
            jacobian: Of the operation (M, n).
        """
        reached = Windows.of(windows.inside.float() @ (jacobian != 0).float() > 0)
        if reached is None:
            return None
        return WindowStep(reached, jacobian[windows.columns[:, :, None], reached.columns[:, None, :]])

    def apply(self, rows: Tensor, group: Tensor) -> Tensor:
        """Return rows (2, N, W), in the order of their groups (N,), times the Jacobian (2, N, V)."""
        moved = rows.new_empty(*rows.shape[:2], self.blocks.shape[2])
        begin = 0
        for number, count in enumerate(group.bincount(minlength=len(self.blocks)).tolist()):
            part = slice(begin, begin + count)
            moved[:, part] = rows[:, part] @ self.blocks[number]
            begin += count
        return moved
