"""Canaries without any meaning: random patterns under random labels, which a model can only memorize."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quintain.core.limits import require_at_least
from quintain.core.seeds import derive_seed
from quintain.data.dataset import ArraySource, Dataset
from quintain.data.joined import join

CELLS = 7
"""Cells of a pattern along each side of an image."""


def draw_patterns(count: int, shape: Sequence[int], *, seed: int) -> Tensor:
    """Draw random patterns (n, *S), float32 in [0, 1]: all of one law, so that none is told from another.

    An image is a grid of 7 x 7 cells (as many as it has pixels, if those are fewer) of independent uniform
    brightness, for each channel; coarse, since nets average fine noise away. In a vector each number is
    uniform.

    Args:
        count: n.
        shape: (C, H, W) or (F,).
        seed: The first ones are the same for any count.
    """
    require_at_least(1, count=count)
    rng = np.random.default_rng(derive_seed(seed, "patterns"))
    if len(shape) == 1:
        return torch.from_numpy(rng.random((count, shape[0]), dtype=np.float32))
    channels, height, width = shape
    rows, columns = min(CELLS, height), min(CELLS, width)
    cells = rng.random((count, channels, rows, columns), dtype=np.float32)
    # Each pixel has the brightness of its cell, also where cells do not divide the image evenly.
    row, column = np.arange(height) * rows // height, np.arange(width) * columns // width
    return torch.from_numpy(cells[:, :, row][:, :, :, column].copy())


def draw_labels(count: int, num_classes: int, *, seed: int) -> NDArray[np.int64]:
    """Draw a label for each canary (n,), uniform over the classes."""
    return np.random.default_rng(derive_seed(seed, "labels")).integers(0, num_classes, count)


def with_canaries(data: Dataset, patterns: Tensor, labels: NDArray[np.int64], *, seed: int) -> Dataset:
    """Return a data set with canaries among its examples, at random rows.

    Args:
        data: The examples; they are read when they are needed.
        patterns: Canaries (m, *S).
        labels: Their labels (m,).
        seed: Of the rows.

    Raises:
        DataError: If the canaries have another shape.
    """
    canaries = Dataset(
        ArraySource(patterns.numpy()),
        labels,
        name="canaries",
        num_classes=data.num_classes,
        class_names=data.class_names,
    )
    whole = join([data, canaries], name=f"{data.name} with {len(labels)} canaries")
    rows = np.random.default_rng(derive_seed(seed, "rows")).permutation(len(whole))
    return whole.subset(rows, name=whole.name)
