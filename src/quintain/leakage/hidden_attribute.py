"""A part of each example that is sensitive, such as one feature or a mark in a corner, and its values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from quintain.core.errors import DataError, SettingError
from quintain.data.dataset import READ_BATCH_SIZE, Dataset

TOLERANCE = 1e-3
"""How far an example may be from one of the values, in each number."""

MAX_VALUES = 10
"""Values that a feature may have, to be taken for an attribute."""


@dataclass(frozen=True, slots=True)
class HiddenAttribute:
    """Numbers of an example that together take one of a few known values.

    Args:
        name: What it is called, such as ``smoker``.
        positions: Which numbers of a flattened example (p,).
        values: What these numbers may be, each (p,) in [0, 1]; at least two, all different.

    Raises:
        SettingError: If there are fewer than two different values, or one is not of p numbers in [0, 1].
    """

    name: str
    positions: tuple[int, ...]
    values: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if len(set(self.values)) < max(2, len(self.values)):
            raise SettingError(
                f"{self.name} has the values {self.values}; expected at least two, all different"
            )
        if not self.positions or any(len(value) != len(self.positions) for value in self.values):
            raise SettingError(
                f"{self.name} has {len(self.positions)} positions; expected as many numbers in each value"
            )
        if not all(0 <= number <= 1 for value in self.values for number in value):
            raise SettingError(f"{self.name} has the values {self.values}; expected numbers in [0, 1]")

    def read(self, x: Tensor) -> Tensor:
        """Return the number of each example's value (B,), from examples (B, *S).

        Raises:
            DataError: If an example has none of them.
        """
        found = self._part(x)[:, None] - self._table(x)
        distance = found.abs().amax(2)
        nearest = distance.argmin(1)
        wrong = (distance.amin(1) > TOLERANCE).nonzero().flatten().tolist()
        if wrong:
            raise DataError(
                f"{len(wrong)} of {len(x)} examples have no value of {self.name}, the first is number "
                f"{wrong[0]}; expected one of {self.values}"
            )
        return nearest

    def read_all(self, data: Dataset) -> Tensor:
        """Return the number of the value of each example of a data set (n,)."""
        return torch.cat([self.read(batch.x) for batch in data.batches(READ_BATCH_SIZE)])

    def put(self, x: Tensor, number: int) -> Tensor:
        """Return examples (B, *S) with value ``number`` in place of their own."""
        return self._with(x, self._table(x)[number])

    def hide(self, x: Tensor) -> Tensor:
        """Return examples (B, *S) with the mean of all values, so that nothing is left of their own."""
        return self._with(x, self._table(x).mean(0))

    def _with(self, x: Tensor, numbers: Tensor) -> Tensor:
        flat = x.flatten(1).clone()
        flat[:, list(self.positions)] = numbers
        return flat.reshape(x.shape)

    def _part(self, x: Tensor) -> Tensor:
        features = x.flatten(1).shape[1]
        if max(self.positions) >= features or min(self.positions) < 0:
            raise DataError(
                f"{self.name} is at positions up to {max(self.positions)}; expected 0 to {features - 1} for "
                f"examples of shape {tuple(x.shape[1:])}"
            )
        return x.flatten(1)[:, list(self.positions)]

    def _table(self, x: Tensor) -> Tensor:
        return torch.tensor(self.values, dtype=x.dtype, device=x.device)


def feature_attribute(data: Dataset, position: int, *, name: str = "") -> HiddenAttribute:
    """Return one feature of vectors as an attribute, with the values that it has in a data set.

    Raises:
        DataError: If these are no vectors, or the feature has one value or more than ten.
    """
    if len(data.shape) != 1 or not 0 <= position < data.shape[0]:
        raise DataError(
            f"feature {position} of examples of shape {data.shape}; expected one of vectors (F,), from 0 on"
        )
    return _attribute_at(data, (position,), name or f"feature {position}")


def block_attribute(
    data: Dataset, rows: tuple[int, int], columns: tuple[int, int], *, name: str = ""
) -> HiddenAttribute:
    """Return a block of the pixels of images as an attribute, with the patterns that it has in a data set.

    Args:
        data: Images.
        rows, columns: The first one, and the first one after the block.
        name: What it is called.

    Raises:
        DataError: If these are no images, the block is not inside them, or it has one pattern or more than
            ten.
    """
    (top, bottom), (left, right) = rows, columns
    shape = data.shape
    if len(shape) != 3 or not (0 <= top < bottom <= shape[1] and 0 <= left < right <= shape[2]):
        raise DataError(
            f"rows {top} to {bottom} and columns {left} to {right} of examples of shape {shape}; expected a "
            "block inside of images (C, H, W)"
        )
    numbers = np.arange(np.prod(shape)).reshape(shape)
    positions = tuple(numbers[:, top:bottom, left:right].flatten().tolist())
    return _attribute_at(data, positions, name or f"pixels {top}:{bottom},{left}:{right}")


def _attribute_at(data: Dataset, positions: tuple[int, ...], name: str) -> HiddenAttribute:
    """Return what a data set has at some positions as an attribute.

    Raises:
        DataError: If that is one value or more than ten.
    """
    found: set[tuple[float, ...]] = set()
    for batch in data.batches(READ_BATCH_SIZE):
        found |= set(map(tuple, batch.x.flatten(1)[:, list(positions)].double().tolist()))
    if not 2 <= len(found) <= MAX_VALUES:
        raise DataError(
            f"{name} of {data.name} has {len(found)} values; expected 2 to {MAX_VALUES}, of which an "
            "attacker guesses one: round it to a few, or name another"
        )
    return HiddenAttribute(name, positions, tuple(sorted(found)))


def patch_attribute(
    shape: Sequence[int], top: int, left: int, patterns: Tensor, *, name: str = "patch"
) -> HiddenAttribute:
    """Return a patch of images as an attribute.

    Args:
        shape: (C, H, W) of the images.
        top, left: Where its first row and column are.
        patterns: What may be there (V, C, h, w), in [0, 1].
        name: What it is called.

    Raises:
        SettingError: If the patch is not inside the images.
    """
    numbers = np.arange(np.prod(shape)).reshape(tuple(shape))
    height, width = patterns.shape[-2:]
    inside = numbers[:, top : top + height, left : left + width]
    if inside.shape != patterns.shape[1:] or top < 0 or left < 0:
        raise SettingError(
            f"patterns of shape {tuple(patterns.shape)} at row {top}, column {left} of images of shape "
            f"{tuple(shape)}; expected a patch inside them, with as many channels"
        )
    values = tuple(tuple(pattern.flatten().double().tolist()) for pattern in patterns)
    return HiddenAttribute(name, tuple(inside.flatten().tolist()), values)
