"""Several data sets as one, and data sets under other labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from quintain.core.errors import DataError
from quintain.data.dataset import Dataset, RowIndices


class JoinedSource:
    """The samples of several data sets, one after the other, as float32 in [0, 1]."""

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        self._datasets = tuple(datasets)
        self._ends = np.cumsum([len(data) for data in self._datasets])

    @property
    def shape(self) -> tuple[int, ...]:
        return self._datasets[0].shape

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, rows: RowIndices) -> npt.NDArray[Any]:
        values = np.empty((len(rows), *self.shape), dtype=np.float32)
        owner = np.searchsorted(self._ends, rows, side="right")
        for number in np.unique(owner).tolist():
            data, mine = self._datasets[number], owner == number
            values[mine] = data.batch(rows[mine] - (self._ends[number] - len(data)))[0].numpy()
        return values


def join(datasets: Sequence[Dataset], *, name: str) -> Dataset:
    """Return the examples of several data sets as one, in their order; nothing is copied.

    Raises:
        DataError: If there are none, or they differ in shape or in their number of classes.
    """
    if not datasets:
        raise DataError(f"{name} is made of no data set; expected at least one")
    first = datasets[0]
    for other in datasets[1:]:
        if other.shape != first.shape or other.num_classes != first.num_classes:
            raise DataError(
                f"{other.name} has examples of shape {other.shape} in {other.num_classes} classes, and "
                f"{first.name} of {first.shape} in {first.num_classes}; expected equal ones: resize the "
                "pictures, or give as many classes (--classes)"
            )
    return Dataset(
        JoinedSource(datasets),
        np.concatenate([data.labels for data in datasets]),
        name=name,
        num_classes=first.num_classes,
        class_names=first.class_names,
    )


def relabel(data: Dataset, labels: npt.ArrayLike, *, name: str) -> Dataset:
    """Return the same examples under other labels (N,), such as wrong ones."""
    return Dataset(
        JoinedSource([data]), labels, name=name, num_classes=data.num_classes, class_names=data.class_names
    )
