"""What each kind of canary makes: examples, and the records whose place they take."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset, RowIndices


@dataclass(frozen=True, slots=True)
class CanaryExamples:
    """m canaries, each an example with the label that a model remembers if it was trained on it.

    Args:
        x: (m, *S) float32 in [0, 1].
        y: Labels (m,) int64.
        rows: (m,), distinct rows of the data set that are left out for them, in the same order.
    """

    x: Tensor
    y: Tensor
    rows: RowIndices

    def __len__(self) -> int:
        return len(self.y)


MakeCanaries = Callable[[Dataset, int, int], CanaryExamples]
"""Makes canaries for a data set: ``(data, m, seed)``. They depend on these alone, and on no coin."""


def rows_left_out(data: Dataset, count: int, seed: int) -> RowIndices:
    """Draw the rows whose place canaries take, in random order.

    Raises:
        SettingError: If there are not more records than canaries.
    """
    if not 1 <= count < len(data):
        raise SettingError(
            f"{count} canaries for {len(data)} records; expected at least 1, and fewer than records: "
            "each canary takes the place of one"
        )
    order = np.random.default_rng(derive_seed(seed, "canaries", "rows left out")).permutation(len(data))
    return order[:count].astype(np.int64)


def random_labels(data: Dataset, count: int, seed: int) -> np.ndarray:
    """Draw labels, uniform over all classes."""
    rng = np.random.default_rng(derive_seed(seed, "canaries", "labels"))
    return rng.integers(0, data.num_classes, count)
