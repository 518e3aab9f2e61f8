"""The check of labels that all proof methods share."""

import torch
from torch import Tensor

from quintain.core.errors import DataError


def require_labels(x: Tensor, y: Tensor, classes: int) -> None:
    """Refuse labels that are not one of the model's classes for each example.

    Args:
        x: Inputs (B, *S).
        y: Labels (B,) long.
        classes: How many the model tells apart.

    Raises:
        DataError: If they are no tensor, of another shape or type, or out of range.
    """
    if not isinstance(y, Tensor):
        raise DataError(f"labels in a {type(y).__name__}; expected a tensor ({len(x)},) of torch.int64: torch.as_tensor(y)")
    if y.shape != x.shape[:1] or y.dtype != torch.long:
        raise DataError(f"labels of shape {tuple(y.shape)} and {y.dtype}; expected ({len(x)},) torch.int64, one class per input")
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < classes:
        raise DataError(f"labels from {int(y.min())} to {int(y.max())}; expected classes 0 to {classes - 1} of the model")
