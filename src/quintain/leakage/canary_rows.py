"""Rows of data that stand for canaries: a blank image with the canary's number in one extra row below it.

A canary that is not included is replaced by a placeholder, so that the number of rows, and with it the
sampling rate, does not depend on the coins.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset

CANARY_LABEL = 0
"""The label of all canaries; ``CanaryNet`` predicts class 1 for them."""


def draw_inclusion(count: int, *, seed: int) -> NDArray[np.bool_]:
    """Draw one independent fair coin for each canary."""
    return np.random.default_rng(derive_seed(seed, "canaries", "coins")).random(count) < 0.5


def insert_canaries(data: Dataset, included: NDArray[np.bool_]) -> Dataset:
    """Add a blank marker row to each sample of ``data``, and one sample for each canary.

    The sample is the canary itself, or a placeholder.

    Args:
        data: Images (C, H, W) or vectors (F,).
        included: Which of the m canaries are included, (m,).

    Returns:
        ``len(data) + m`` samples (C, H + 1, W) or (F + 1,) in [0, 1]: canary i (from 0) is blank with a
        marker of ``(i + 1) / (m + 1)`` in the last entry of the last row, a placeholder with a marker of 1.
    """
    m = len(included)
    numbers = np.where(included, np.arange(1, m + 1), m + 1)
    labels = np.concatenate([data.labels, np.full(m, CANARY_LABEL)])
    source = _CanarySource(data, (numbers / (m + 1)).astype(np.float32))
    return Dataset(
        source,
        labels,
        name=f"{data.name} with {m} canaries",
        num_classes=data.num_classes,
        class_names=data.class_names,
    )


class _CanarySource:
    def __init__(self, data: Dataset, markers: NDArray[np.float32]) -> None:
        self._data, self._markers = data, markers

    @property
    def shape(self) -> tuple[int, ...]:
        *outer, last = self._data.shape
        return (*outer, last + 1) if not outer else (*outer[:-1], outer[-1] + 1, last)

    def __len__(self) -> int:
        return len(self._data) + len(self._markers)

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        out = np.zeros((len(rows), *self.shape), dtype=np.float32)
        real = rows < len(self._data)  # the user's rows; the others are markers on blank images
        pictures, row = _split_marker_row(out)
        pictures[real] = self._data.batch(rows[real])[0].numpy()
        row[~real, -1] = self._markers[rows[~real] - len(self._data)]
        return out


def _split_marker_row(x: Any) -> tuple[Any, Any]:
    """View samples without the marker row, and the row that holds the marker in its last entry."""
    return (x[:, :-1], x[:, -1:]) if x.ndim == 2 else (x[..., :-1, :], x[:, -1, -1, :])


def decode_markers(x: Tensor, canaries: int) -> tuple[Tensor, Tensor]:
    """Return samples as the net takes them, and canary numbers (B,): 0 for none, m + 1 for a placeholder."""
    # i / (m + 1) in float32 is off by less than half a step for m < 2^23.
    pictures, row = _split_marker_row(x)
    return pictures.contiguous(), (row[:, -1].double() * (canaries + 1)).round().long()
