"""The original ONNX file in onnxruntime on the CPU: what an imported net is held against."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import ModelError
from quintain.models.onnx import FLOATS

Array = NDArray[Any]


def onnxruntime_function(path: Path) -> Callable[[Array], Array] | None:
    """Return what runs a file, inputs (B, *S) to its first output as rows (B, m); None without onnxruntime.

    Inputs are run one by one where the file fixes a batch of one.

    Raises:
        ModelError: If onnxruntime is installed and cannot run the file.
    """
    try:
        import onnxruntime
    except ImportError:
        return None
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of its own for each cause, without a common base
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"{path}: onnxruntime cannot run it: {reason}") from error
    (taken,) = session.get_inputs()
    given = session.get_outputs()[0].name
    step = taken.shape[0] if isinstance(taken.shape[0], int) else 0

    def answer(x: Array) -> Array:
        try:
            return np.asarray(session.run([given], {taken.name: x})[0])
        except Exception as error:  # as above
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise ModelError(
                f"{path}: onnxruntime fails on {len(x)} inputs: {reason}; expected a net that takes any "
                "number of them, or a file that fixes a batch of one"
            ) from error

    def run(x: Array) -> Array:
        x = np.ascontiguousarray(x.astype(FLOATS[taken.type], copy=False))
        if step == 0:
            return answer(x).reshape(len(x), -1)
        parts = []
        for first in range(0, len(x), step):
            part = x[first : first + step]
            filled = np.concatenate([part, np.repeat(part[-1:], step - len(part), axis=0)])
            found = answer(filled).reshape(step, -1)
            parts.append(found[: len(part)])
        return np.concatenate(parts)

    return run
