"""The data set: labels in memory, samples in [0, 1] that are read when a batch is needed."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from quintain.core.errors import DataError, SettingError
from quintain.data.values import Labels, channels_first, check_labels, check_values, count_classes, to_unit

HASH_VERSION = b"quintain-data-1"
READ_BATCH_SIZE = 256

RowIndices = npt.NDArray[np.int64]


class Source(Protocol):
    """A source of samples; the only thing that a new kind of data set has to implement."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample: (C, H, W) for images, (F,) for vectors."""

    def __len__(self) -> int:
        """Number of samples."""

    def read(self, rows: RowIndices) -> npt.NDArray[Any]:
        """Read the samples of these rows, (B, *shape), uint8 or floating, and no others."""


class Batch(NamedTuple):
    """Some examples of a data set.

    Args:
        x: Samples in [0, 1], (B, *shape), float32.
        y: Labels, (B,), int64.
        ids: Their positions in the data set, (B,), int64.
    """

    x: Tensor
    y: Tensor
    ids: Tensor


@final
class Dataset:
    """Labeled samples in [0, 1], read batch by batch: memory does not grow with their number.

    Args:
        source: From which samples are read.
        labels: Class of each row, (N,), integers in [0, num_classes).
        num_classes: Number of classes; the largest label plus one, and at least two, if not given.
        class_names: One name a class; the numbers themselves if not given.
        name: The data set's name in results.
        rows: Rows of the source that belong to it, in order; all of them if not given. ``labels`` is then of
            these rows.

    Raises:
        DataError: If there are no samples, or labels do not fit.
    """

    def __init__(
        self,
        source: Source,
        labels: npt.ArrayLike,
        *,
        name: str,
        num_classes: int | None = None,
        class_names: Sequence[str] = (),
        rows: RowIndices | None = None,
    ) -> None:
        self._source = source
        self._rows = np.arange(len(source), dtype=np.int64) if rows is None else rows
        self.name = name
        self.labels: Labels = check_labels(labels, count=len(self._rows), num_classes=num_classes, name=name)
        self.num_classes = count_classes(self.labels, len(self), name) if num_classes is None else num_classes
        self.class_names = tuple(class_names) or tuple(str(label) for label in range(self.num_classes))
        if len(self.class_names) != self.num_classes:
            raise DataError(
                f"{name} has {len(self.class_names)} class names for {self.num_classes} classes; expected "
                "one each"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample: (C, H, W) for images, (F,) for vectors."""
        return self._source.shape

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"Dataset({self.name}: {len(self)} x {self.shape}, {self.num_classes} classes)"

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        """Read one sample (*shape) and its label, as a ``torch.utils.data.DataLoader`` asks for them.

        Raises:
            IndexError: If there is no such position.
        """
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: list[int]) -> list[tuple[Tensor, Tensor]]:
        """Read some samples and labels at once, as a ``DataLoader`` of batches does.

        Raises:
            IndexError: If there is no such position.
        """
        if not all(-len(self) <= position < len(self) for position in positions):
            raise IndexError(f"positions {positions}; {self.name} has {len(self)} examples")
        x, y = self.batch([position % len(self) for position in positions])
        return list(zip(x, y, strict=True))

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """All samples (N, *shape) and labels (N,) in memory, as a ``TensorDataset`` has them."""
        return self.batch(np.arange(len(self)))

    def batch(self, ids: npt.ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
        """Read samples and labels at ``ids``, in that order; repeats are allowed.

        Returns:
            x (B, *shape), float32 in [0, 1], and y (B,), int64.

        Raises:
            DataError: If an id or a value is out of range, or NaN.
        """
        positions = self._positions(ids)
        values = self._source.read(self._rows[positions])
        if values.shape != (len(positions), *self.shape):
            raise DataError(
                f"{self.name} gave samples of shape {values.shape[1:]}; expected {self.shape} like the first "
                "one"
            )
        check_values(values, self.name)
        return torch.from_numpy(to_unit(values)), torch.from_numpy(self.labels[positions])

    def file_of(self, position: int) -> Path | None:
        """Return the file that holds one example and no other; None where the data are no such files."""
        paths: Sequence[Path] | None = getattr(self._source, "paths", None)
        return None if paths is None else paths[int(self._rows[position])]

    def batches(self, size: int) -> Iterator[Batch]:
        """Read all examples in order, ``size`` at a time; only one batch is in memory."""
        if size < 1:
            raise SettingError(f"batch size = {size}; expected at least 1")
        return self._batches(size)

    def _batches(self, size: int) -> Iterator[Batch]:
        for start in range(0, len(self), size):
            ids = torch.arange(start, min(start + size, len(self)))
            yield Batch(*self.batch(ids), ids)

    def subset(self, ids: npt.ArrayLike | Tensor, *, name: str | None = None) -> "Dataset":
        """Make the data set of some examples, in the order of ``ids``, over the same source."""
        positions = self._positions(ids)
        return Dataset(
            self._source,
            self.labels[positions],
            name=name or f"{self.name}[{len(positions)}]",
            num_classes=self.num_classes,
            class_names=self.class_names,
            rows=self._rows[positions],
        )

    def with_classes(self, num_classes: int) -> "Dataset":
        """Return the same examples as of so many classes, of which some may have none.

        Classes without a name are called by their number; names beyond them go.

        Raises:
            DataError: If there are labels beyond them.
        """
        numbers = map(str, range(len(self.class_names), num_classes))
        return Dataset(
            self._source,
            self.labels,
            name=self.name,
            num_classes=num_classes,
            class_names=(*self.class_names, *numbers)[:num_classes],
            rows=self._rows,
        )

    def sample(self, count: int, *, seed: int) -> "Dataset":
        """Draw ``count`` examples by the seed, in their order; 0, or a number above theirs, gives all."""
        if count < 0:
            raise SettingError(f"{count} examples; expected 0 for all, or how many to draw")
        if not 0 < count < len(self):
            return self
        return self.subset(np.sort(np.random.default_rng(seed).permutation(len(self))[:count]))

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the content: sample shape, then each sample as little-endian float32, then the labels.

        It is equal for equal content, whatever the kind of source and the batch size; any other value, label
        or order changes it. It takes one pass over the data, on first use.
        """
        digest = hashlib.sha256(HASH_VERSION)
        digest.update(repr((len(self), *self.shape)).encode())
        for x, _, _ in self.batches(READ_BATCH_SIZE):
            digest.update(canonical_bytes(x))
        digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()

    def _positions(self, ids: npt.ArrayLike | Tensor) -> RowIndices:
        given = ids.detach().cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
        if given.size == 0:
            given = given.astype(np.int64)
        if given.ndim != 1 or not np.issubdtype(given.dtype, np.integer):
            raise DataError(
                f"ids of shape {given.shape} and type {given.dtype}; expected a list of whole numbers"
            )
        if given.size and (given.min() < 0 or given.max() >= len(self)):
            raise DataError(f"ids from {given.min()} to {given.max()}; {self.name} has 0 .. {len(self) - 1}")
        return given.astype(np.int64)


def canonical_bytes(x: Tensor) -> bytes:
    """Return the bytes of samples for hashing: little-endian float32, with one zero instead of two."""
    # Adding 0 turns -0.0 into 0.0.
    return (x.numpy() + np.float32(0)).astype("<f4").tobytes()


class ArraySource:
    """Samples of one array, in memory or memory-mapped, (N, *shape)."""

    def __init__(self, values: npt.NDArray[Any]) -> None:
        self._values = values

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._values.shape[1:])

    def __len__(self) -> int:
        return len(self._values)

    def read(self, rows: RowIndices) -> npt.NDArray[Any]:
        return np.asarray(self._values[rows])


def from_arrays(
    images: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    name: str = "arrays",
    num_classes: int | None = None,
    class_names: Sequence[str] = (),
) -> Dataset:
    """Make a data set over arrays, which are not copied.

    Args:
        images: uint8, divided by 255 when read, or floating in [0, 1]; (N, F), (N, H, W), (N, H, W, C) or
            (N, C, H, W) with C in {1, 3, 4}. Where the last axis and the second could both be channels, the
            last is, but for pictures of one pixel, (N, C, 1, 1).
        labels: (N,) or (N, 1), integers.
        name: The data set's name in results.
        num_classes: Number of classes; the largest label plus one, and at least two, if not given.
        class_names: One name a class.

    Raises:
        DataError: If the arrays are empty, of no such shape or type, outside [0, 1], or labels do not fit.
    """
    values = channels_first(np.asanyarray(images), name)
    for start in range(0, len(values), READ_BATCH_SIZE):
        check_values(values[start : start + READ_BATCH_SIZE], name)
    return Dataset(ArraySource(values), labels, name=name, num_classes=num_classes, class_names=class_names)


Examples = Dataset | tuple[npt.ArrayLike, npt.ArrayLike]
"""A data set, or its images and labels as ``from_arrays`` takes them."""


def to_dataset(examples: Examples) -> Dataset:
    """Return a data set, which may be given as a pair of arrays, images and labels.

    Raises:
        DataError: If the arrays are none that ``from_arrays`` takes.
    """
    return from_arrays(*examples) if isinstance(examples, tuple) else examples
