"""The train, val and test splits of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from quintain.core.errors import NotFoundError
from quintain.data.dataset import Dataset, from_arrays
from quintain.data.values import count_classes

SPLIT_NAMES = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Splits:
    """The splits of a data set; any may be missing.

    A source without splits, such as ``images`` and ``labels`` alone, is all ``test``: nothing says that a
    model may be fitted to it.

    Args:
        name: The data set's name in results.
        train: For fitting weights.
        val: For choosing settings.
        test: For every claim.
    """

    name: str
    train: Dataset | None = None
    val: Dataset | None = None
    test: Dataset | None = None

    def as_dict(self) -> dict[str, Dataset]:
        """Return the splits that exist, by name, in the order train, val, test."""
        every = {"train": self.train, "val": self.val, "test": self.test}
        return {name: data for name, data in every.items() if data is not None}

    def split(self, name: str) -> Dataset:
        """Return one split.

        Raises:
            NotFoundError: If there is no such split; the message names those that exist.
        """
        splits = self.as_dict()
        if name not in splits:
            raise NotFoundError(
                f"the data set {self.name} has no {name!r} split; it has {', '.join(splits) or 'none'}"
            )
        return splits[name]

    def with_classes(self, num_classes: int) -> "Splits":
        """Return the same splits as of so many classes (see ``Dataset.with_classes``)."""
        return Splits(
            self.name, **{name: data.with_classes(num_classes) for name, data in self.as_dict().items()}
        )


def splits_from_arrays(
    name: str,
    arrays: dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]],
    *,
    class_names: Sequence[str] = (),
    fallback_class_names: Sequence[str] = (),
) -> Splits:
    """Make splits over arrays of images and labels.

    The number of classes is that of ``class_names``, or of the labels of all splits; ``fallback_class_names``
    is used if it has exactly that many.
    """
    num_classes = max(
        count_classes(labels, len(images), f"{name}.{split}") for split, (images, labels) in arrays.items()
    )
    names = class_names or (fallback_class_names if len(fallback_class_names) == num_classes else ())
    classes = max(num_classes, len(names))
    sets = {
        split: from_arrays(images, labels, name=f"{name}.{split}", num_classes=classes, class_names=names)
        for split, (images, labels) in arrays.items()
    }
    return Splits(name, **sets)
