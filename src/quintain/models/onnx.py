"""ONNX files, run by onnxruntime on the CPU: scores, and nothing is unpickled."""

from pathlib import Path
from typing import Any

import numpy as np

from quintain.core.errors import ModelError
from quintain.core.store import sha256, sha256_file
from quintain.models.blackbox import BlackBox

FLOATS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


def load_onnx(path: str | Path, *, classes: int | None = None, name: str | None = None) -> BlackBox:
    """The classifier of an ONNX file with one input of images or vectors in [0, 1].

    Its scores are the output called ``logits``, ``scores``, ``probabilities`` or ``output``, or the only floating-point one of two
    axes. A batch size that was fixed on export is kept: inputs are asked in such batches, the last one filled up with its last input.

    Args:
        path: The file; weights stored beside it as ``.data`` or ``_data`` count in the hash.
        classes: Number of classes; taken from the file or the first answer if not given.
        name: What it is called in results; the file's name if not given.

    Raises:
        ModelError: If onnxruntime is not installed, the file cannot be read, or its inputs and outputs are not those of a classifier;
            when called, if the inputs do not fit.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(f"{path} needs onnxruntime, which is not installed; run: pip install 'quintain[onnx]'") from error
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"there is no file {path}; expected an ONNX model")
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of its own for each cause, without a common base
        raise ModelError(f"{path} is no ONNX model that onnxruntime can run: {str(error).splitlines()[0]}") from error
    wanted, scores = _input(session, path), _output(session, path)
    known = scores.shape[1] if isinstance(scores.shape[1], int) else None
    beside = [other for other in (Path(f"{path}.data"), Path(f"{path}_data")) if other.is_file()]
    digest = sha256("".join(sha256_file(file) for file in (path, *beside)).encode()) if beside else sha256_file(path)

    def answer(x: np.ndarray) -> np.ndarray:
        _require_fit(path, wanted.shape, x)
        x = x.astype(FLOATS[wanted.type], copy=False)
        fixed = wanted.shape[0] if isinstance(wanted.shape[0], int) else len(x)
        parts = []
        for first in range(0, len(x), max(1, fixed)):
            part = x[first : first + fixed]
            filled = np.concatenate([part, np.repeat(part[-1:], fixed - len(part), axis=0)])
            parts.append(session.run([scores.name], {wanted.name: filled})[0][: len(part)])
        return np.concatenate(parts) if parts else np.zeros((0, classes or known or 2), np.float32)

    return BlackBox(answer, classes=classes or known, name=name or path.name, hash=digest)


def _input(session: Any, path: Path) -> Any:
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in FLOATS or len(inputs[0].shape) < 2:
        raise ModelError(f"{path} takes {_listed(inputs)}; expected one floating-point input (batch, ...)")
    return inputs[0]


def _output(session: Any, path: Path) -> Any:
    outputs = session.get_outputs()
    able = [output for output in outputs if output.type in FLOATS and len(output.shape) == 2]
    named = [output for output in able if output.name in ("logits", "scores", "probabilities", "output")]
    if len(able) != 1 and len(named) != 1:
        raise ModelError(f"{path} gives {_listed(outputs)}; expected one floating-point output (batch, classes), or one called 'logits'")
    return (named if len(named) == 1 else able)[0]


def _require_fit(path: Path, shape: list[int | str | None], x: np.ndarray) -> None:
    """A fixed size of the file must be that of the inputs; the batch is cut to fit."""
    if len(shape) != x.ndim or any(isinstance(want, int) and want != got for want, got in zip(shape[1:], x.shape[1:], strict=True)):
        raise ModelError(f"{path.name} takes inputs of shape ({', '.join(map(str, shape))}); got {x.shape}. Give data of that size")


def _listed(values: list[Any]) -> str:
    return ", ".join(f"{value.name} {value.type} ({', '.join(map(str, value.shape))})" for value in values) or "nothing"
