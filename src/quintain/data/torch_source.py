"""Map-style PyTorch data sets as a ``Dataset``."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from quintain.core.errors import DataError
from quintain.data.dataset import Dataset, RowIndices
from quintain.data.values import channels_first, check_labels


class MapStyleDataset(Protocol):
    """A map-style data set: ``len(d)`` pairs ``d[i] = (sample, label)``."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class TorchSource:
    """Samples of a map-style data set, read one by one; the label of each must be the one that is known."""

    def __init__(self, items: MapStyleDataset, labels: npt.NDArray[np.int64], name: str) -> None:
        self._items = items
        self._labels = labels
        self._name = name
        self.shape: tuple[int, ...] = _as_array(_sample_and_label(items, 0, name)[0], name).shape

    def __len__(self) -> int:
        return len(self._items)

    def read(self, rows: RowIndices) -> npt.NDArray[Any]:
        samples = []
        for row in rows.tolist():
            value, label = _sample_and_label(self._items, row, self._name)
            if label != self._labels[row]:
                raise DataError(
                    f"{self._name} gives the label {label} for example {row}, and .targets says "
                    f"{self._labels[row]}; expected one answer"
                )
            sample = _as_array(value, self._name)
            if sample.shape != self.shape:
                raise DataError(
                    f"{self._name} gives shape {sample.shape} for example {row}; "
                    f"expected {self.shape} like the first: resize in its transform"
                )
            samples.append(sample)
        return np.stack(samples) if samples else np.empty((0, *self.shape), dtype=np.uint8)


def from_torch(dataset: MapStyleDataset, *, name: str, num_classes: int | None = None) -> Dataset:
    """Make a data set over a map-style ``torch.utils.data.Dataset``.

    Its samples are read when a batch is needed.

    Its transform must not be random, since results carry a hash of the content, and must end in [0, 1]
    without normalization.

    Args:
        dataset: ``dataset[i]`` is (sample, label); a sample is a tensor (C, H, W) or (F,) in [0, 1] or uint8,
            a uint8 or float array of an image (H, W) or (H, W, C), or a PIL image. Labels are read from
            ``.targets`` where there is one for each sample, else by one pass.
        name: The data set's name in results.
        num_classes: Number of classes; the largest label plus one, and at least two, if not given.

    Raises:
        DataError: If it has no length, is empty, or a sample or label does not fit; for a single sample, when
            its batch is read.
    """
    try:
        count = len(dataset)
    except TypeError as error:
        raise DataError(
            f"{name} is a {type(dataset).__name__} without a length; expected a map-style data set with "
            "len() and [i]"
        ) from error
    if count == 0:
        raise DataError(f"{name} is empty: expected at least one sample")
    targets = getattr(dataset, "targets", None)
    if isinstance(targets, Tensor | np.ndarray | list | tuple) and len(targets) == count:
        labels = np.asarray(targets)
    else:
        labels = np.asarray([_sample_and_label(dataset, row, name)[1] for row in range(count)])
    labels = check_labels(labels, count=count, num_classes=num_classes, name=name)
    return Dataset(TorchSource(dataset, labels, name), labels, name=name, num_classes=num_classes)


def _sample_and_label(items: MapStyleDataset, row: int, name: str) -> tuple[Any, int]:
    item = items[row]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise DataError(
            f"{name} gives a {type(item).__name__} for example {row}; expected a pair (sample, label)"
        )
    label = np.asarray(item[1])
    if label.size != 1 or not np.issubdtype(label.dtype, np.integer):
        raise DataError(f"{name} gives the label {item[1]!r} for example {row}; expected one integer")
    return item[0], int(label.reshape(()))


def _as_array(value: Any, name: str) -> npt.NDArray[Any]:
    if isinstance(value, Tensor):
        sample: npt.NDArray[Any] = value.detach().cpu().numpy()
        return sample
    pixels = np.asarray(value)
    return pixels if pixels.ndim == 1 else channels_first(pixels[None], name)[0]
