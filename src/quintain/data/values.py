"""Checks of samples and labels, and their conversion to float32 in [0, 1] and int64."""

from typing import Any

import numpy as np
import numpy.typing as npt

from quintain.core.errors import DataError

CHANNELS = (1, 3, 4)
MAX_CLASSES = 100_000

Labels = npt.NDArray[np.int64]


def to_unit(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Convert samples to float32 in [0, 1]: uint8 over 255, floats as they are."""
    unit = np.ascontiguousarray(values, dtype=np.float32)
    return unit / np.float32(255) if values.dtype == np.uint8 else unit


def check_values(values: npt.NDArray[Any], name: str) -> None:
    """Refuse samples that are not uint8 and not floats in [0, 1].

    Raises:
        DataError: With the range that was found.
    """
    if values.dtype == np.uint8 or values.size == 0:
        return
    if not np.issubdtype(values.dtype, np.floating):
        raise DataError(
            f"{name} has values of type {values.dtype}; expected uint8 in 0 .. 255 or floats in [0, 1]"
        )
    low, high = float(values.min()), float(values.max())
    if np.isnan(low):
        raise DataError(f"{name} has NaN values; expected numbers in [0, 1]. Remove or repair those samples")
    if low < 0 or high > 1:
        inside = "undo the normalization, and put it inside the model (quintain.models.Normalize)?"
        hint = inside if low < 0 or high > 255 else "divide by 255?"
        raise DataError(f"{name} has values from {low:g} to {high:g}; expected [0, 1]: {hint}")


def check_labels(labels: npt.ArrayLike, *, count: int, num_classes: int | None, name: str) -> Labels:
    """Convert labels to int64, (N,).

    Raises:
        DataError: If they are not one whole number a sample, from 0 to ``num_classes - 1``.
    """
    if count == 0:
        raise DataError(f"{name} is empty: expected at least one sample")
    given = np.asarray(labels)
    flat = given[:, 0] if given.ndim == 2 and given.shape[1] == 1 else given
    if flat.ndim != 1:
        raise DataError(
            f"{name} has labels of shape {given.shape}; expected (N,) or (N, 1), one class a sample"
        )
    if len(flat) != count:
        raise DataError(f"{name} has {count} samples and {len(flat)} labels; expected one label a sample")
    if not np.issubdtype(flat.dtype, np.integer):
        remedy = (
            "labels.astype(int) makes them so"
            if flat.dtype.kind in "bf"
            else "names, labels = numpy.unique(labels, return_inverse=True) makes them so"
        )
        raise DataError(f"{name} has labels of type {flat.dtype}; expected integers 0, 1, 2 ...: {remedy}")
    low, high = int(flat.min()), int(flat.max())
    if low < 0:
        raise DataError(
            f"{name} has the label {low}; expected 0, 1, 2 ... (labels that begin at -1 or 1 need shifting)"
        )
    if high >= MAX_CLASSES:
        raise DataError(
            f"{name} has the label {high}; expected classes numbered 0, 1, 2 ..., fewer than {MAX_CLASSES:,}"
        )
    if num_classes is not None and high >= num_classes:
        raise DataError(
            f"{name} has the label {high}; expected 0 .. {num_classes - 1} for {num_classes} classes"
        )
    return flat.astype(np.int64)


def count_classes(labels: npt.ArrayLike, count: int, name: str) -> int:
    """Return the number of classes: the largest label plus one, and at least two."""
    return max(2, int(check_labels(labels, count=count, num_classes=None, name=name).max()) + 1)


def channels_first(images: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """View images as (N, C, H, W), or vectors as (N, F).

    Three axes are gray images. With four, the last axis is the channels if it has 1, 3 or 4 entries,
    otherwise the second; of one pixel, (N, C, 1, 1), it is the second.

    Raises:
        DataError: If neither fits.
    """
    if images.ndim == 2:
        return images
    if images.ndim == 3:
        return images[:, None]
    of_one_pixel = images.shape[2:] == (1, 1)
    if images.ndim == 4 and images.shape[3] in CHANNELS and not of_one_pixel:
        return images.transpose(0, 3, 1, 2)
    if images.ndim == 4 and images.shape[1] in CHANNELS:
        return images
    raise DataError(
        f"{name} has images of shape {images.shape}; expected (N, F), (N, H, W), (N, H, W, C) or (N, C, H, "
        "W) with 1, 3 or 4 channels"
    )
