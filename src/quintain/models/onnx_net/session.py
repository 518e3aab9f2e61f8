"""ONNX files in onnxruntime on the CPU: as black boxes, and as what imported nets are held against."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import ModelError

Array = NDArray[Any]

FLOATS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
"""Floating-point types, by the names that onnxruntime has for them."""


def open_session(path: Path) -> Any:
    """Open a file in onnxruntime on the CPU.

    Raises:
        ImportError: If onnxruntime is not installed.
        ModelError: If it cannot run the file.
    """
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of its own for each cause, without a common base
        raise ModelError(f"{path} is no ONNX model that onnxruntime can run: {_reason(error)}") from error


def run_in_batches(run: Callable[[Array], Array], x: Array, size: object) -> Array:
    """Run inputs (B, *S) in batches of the size that a file fixes; all at once if ``size`` is no number.

    The last batch is filled up with its last input.
    """
    if not isinstance(size, int):
        return run(x)
    outputs = []
    for first in range(0, len(x), size):
        part = x[first : first + size]
        filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
        outputs.append(run(filled)[: len(part)])
    return np.concatenate(outputs)


def onnxruntime_function(path: Path) -> Callable[[Array], Array] | None:
    """Return what runs a file, inputs (B, *S) to its first output as rows (B, m); None without onnxruntime.

    Raises:
        ModelError: If onnxruntime is installed and cannot run the file.
    """
    try:
        session = open_session(path)
    except ImportError:
        return None
    (taken,) = session.get_inputs()
    given = session.get_outputs()[0].name

    def answer(x: Array) -> Array:
        try:
            found = np.asarray(session.run([given], {taken.name: x})[0])
        except Exception as error:  # as above
            raise ModelError(
                f"{path}: onnxruntime fails on {len(x)} inputs: {_reason(error)}; expected a net that takes "
                "any number of them, or a file that fixes a batch of one"
            ) from error
        return found.reshape(len(x), -1)

    def run(x: Array) -> Array:
        x = np.ascontiguousarray(x.astype(FLOATS[taken.type], copy=False))
        return run_in_batches(answer, x, taken.shape[0])

    return run


def _reason(error: Exception) -> str:
    """Return the first line of an error's text, or its class if it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)
