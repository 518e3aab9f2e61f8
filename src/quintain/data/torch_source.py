"""Any map-style PyTorch data set as a ``Dataset``."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from quintain.core.errors import DataError
from quintain.data.dataset import Dataset, Rows
from quintain.data.values import channels_first, check_labels


class Items(Protocol):
    """A map-style data set: ``len(d)`` pairs ``d[i] = (sample, label)``."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class TorchSource:
    """Samples of a map-style data set, taken one by one, with the label of each held against the one that is known."""

    def __init__(self, items: Items, labels: npt.NDArray[np.int64], name: str) -> None:
        self._items = items
        self._labels = labels
        self._name = name
        self.shape: tuple[int, ...] = _sample(_pair(items, 0, name)[0], name).shape

    def __len__(self) -> int:
        return len(self._items)

    def read(self, rows: Rows) -> npt.NDArray[Any]:
        samples = []
        for row in rows.tolist():
            value, label = _pair(self._items, row, self._name)
            if label != self._labels[row]:
                raise DataError(
                    f"{self._name} gives the label {label} for example {row}, and .targets says {self._labels[row]}; expected one answer"
                )
            sample = _sample(value, self._name)
            if sample.shape != self.shape:
                raise DataError(
                    f"{self._name} gives shape {sample.shape} for example {row}; "
                    f"expected {self.shape} like the first: resize in its transform"
                )
            samples.append(sample)
        return np.stack(samples) if samples else np.empty((0, *self.shape), dtype=np.uint8)


def from_torch(dataset: Items, *, name: str, classes: int | None = None) -> Dataset:
    """A data set over a map-style ``torch.utils.data.Dataset``, whose samples are taken when a batch is asked for.

    Its transform must be free of randomness, since results carry a hash of the content, and must end in [0, 1] without normalisation.

    Args:
        dataset: ``dataset[i]`` is (sample, label); a sample is a tensor (C, H, W) or (F,) in [0, 1] or uint8, a uint8 or float array of
            an image (H, W) or (H, W, C), or a PIL image. Labels are read from ``.targets`` where there is one for each sample, else by
            one pass.
        name: What it is called in results.
        classes: Number of classes; the largest label plus one, and at least two, if not given.

    Raises:
        DataError: If it has no length, is empty, or a sample or label does not fit; for a single sample, when its batch is read.
    """
    try:
        count = len(dataset)
    except TypeError as error:
        raise DataError(
            f"{name} is a {type(dataset).__name__} without a length; expected a map-style data set with len() and [i]"
        ) from error
    if count == 0:
        raise DataError(f"{name} is empty: expected at least one sample")
    targets = getattr(dataset, "targets", None)
    if isinstance(targets, Tensor | np.ndarray | list | tuple) and len(targets) == count:
        labels = np.asarray(targets)
    else:
        labels = np.asarray([_pair(dataset, row, name)[1] for row in range(count)])
    labels = check_labels(labels, count=count, classes=classes, name=name)
    return Dataset(TorchSource(dataset, labels, name), labels, name=name, classes=classes)


def _pair(items: Items, row: int, name: str) -> tuple[Any, int]:
    item = items[row]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise DataError(f"{name} gives a {type(item).__name__} for example {row}; expected a pair (sample, label)")
    label = np.asarray(item[1])
    if label.size != 1 or not np.issubdtype(label.dtype, np.integer):
        raise DataError(f"{name} gives the label {item[1]!r} for example {row}; expected one integer")
    return item[0], int(label.reshape(()))


def _sample(value: Any, name: str) -> npt.NDArray[Any]:
    if isinstance(value, Tensor):
        sample: npt.NDArray[Any] = value.detach().cpu().numpy()
        return sample
    pixels = np.asarray(value)
    return pixels if pixels.ndim == 1 else channels_first(pixels[None], name)[0]
