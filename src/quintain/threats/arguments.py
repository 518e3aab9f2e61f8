"""What users may hand in for a threat and for examples: its text, and NumPy arrays."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quintain.core.arrays import native_copy
from quintain.threats.specs import parse
from quintain.threats.threat import Threat

Array = Tensor | NDArray[Any]
"""Examples or labels, as a tensor or a NumPy array."""


def to_threat(threat: Threat | str) -> Threat:
    """Return a threat, which may be given as its text, such as ``"linf:8/255"``.

    Raises:
        UnknownNameError: If no threat has the text's name.
        SettingError: If the text has no size, or one that the threat refuses.
    """
    return parse(threat) if isinstance(threat, str) else threat


def to_inputs(x: Array, dtype: torch.dtype | None = None) -> Tensor:
    """Return inputs (B, *S) as a tensor; an array is copied.

    Args:
        x: As a user hands them in.
        dtype: The model's type, which an array of other floating-point numbers is converted to, as NumPy's
            float64 of ``x / 255``; a tensor keeps its own.
    """
    if not isinstance(x, np.ndarray):
        return x
    inputs = torch.from_numpy(native_copy(x))
    return inputs.to(dtype or inputs.dtype) if inputs.is_floating_point() else inputs


def to_labels(y: Array) -> Tensor:
    """Return labels (B,) as a tensor; an array of integers of any width becomes one of int64."""
    if not isinstance(y, np.ndarray):
        return y
    return torch.from_numpy(native_copy(y.astype(np.int64) if y.dtype.kind in "iu" else y))
