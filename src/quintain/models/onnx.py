"""Classifiers in ONNX files, run by onnxruntime on the CPU; nothing is unpickled."""

from pathlib import Path
from typing import Any

import numpy as np

from quintain.core.errors import ModelError, NotFoundError
from quintain.core.files import sha256, sha256_file
from quintain.models.blackbox import BlackBox
from quintain.models.onnx_net.session import FLOATS, open_session, run_in_batches


def load_onnx(path: str | Path, *, num_classes: int | None = None, name: str | None = None) -> BlackBox:
    """Load the classifier of an ONNX file with one input of images or vectors in [0, 1].

    Its scores are the output called ``logits``, ``scores``, ``probabilities`` or ``output``, or the only
    floating-point output of two axes. A batch size that was fixed on export is kept: inputs are run in such
    batches, the last one filled up with its last input.

    Args:
        path: The file; external data beside it, as ``.data`` or ``_data``, count in the hash.
        num_classes: Number of classes; taken from the file or the first output if not given.
        name: The model's name in results; the file's name if not given.

    Raises:
        NotFoundError: If there is no such file.
        ModelError: If onnxruntime is not installed, the file cannot be read, or its inputs and outputs are
            not those of a classifier; when called, if the inputs do not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}; expected an ONNX model")
    try:
        session = open_session(path)
    except ImportError as error:
        raise ModelError(
            f"{path} needs onnxruntime, which is not installed; run: pip install 'quintain[onnx]'"
        ) from error
    input_spec, output_spec = _input(session, path), _output(session, path)
    known = output_spec.shape[1] if isinstance(output_spec.shape[1], int) else None
    external_data = [other for other in (Path(f"{path}.data"), Path(f"{path}_data")) if other.is_file()]
    digest = (
        sha256("".join(sha256_file(file) for file in (path, *external_data)).encode())
        if external_data
        else sha256_file(path)
    )

    def predict(x: np.ndarray) -> np.ndarray:
        _require_fit(path, input_spec.shape, x)
        if not len(x):
            return np.zeros((0, num_classes or known or 2), np.float32)

        def run(batch: np.ndarray) -> np.ndarray:
            return np.asarray(session.run([output_spec.name], {input_spec.name: batch})[0])

        return run_in_batches(run, x.astype(FLOATS[input_spec.type], copy=False), input_spec.shape[0])

    return BlackBox(predict, num_classes=num_classes or known, name=name or path.name, hash=digest)


def _input(session: Any, path: Path) -> Any:
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in FLOATS or len(inputs[0].shape) < 2:
        raise ModelError(f"{path} takes {_list_text(inputs)}; expected one floating-point input (batch, ...)")
    return inputs[0]


def _output(session: Any, path: Path) -> Any:
    outputs = session.get_outputs()
    able = [output for output in outputs if output.type in FLOATS and len(output.shape) == 2]
    named = [output for output in able if output.name in ("logits", "scores", "probabilities", "output")]
    if len(able) != 1 and len(named) != 1:
        raise ModelError(
            f"{path} gives {_list_text(outputs)}; expected one floating-point output (batch, classes), or "
            "one called 'logits'"
        )
    return (named if len(named) == 1 else able)[0]


def _require_fit(path: Path, shape: list[int | str | None], x: np.ndarray) -> None:
    """Refuse inputs of another size than the file fixes; the batch is cut to fit."""
    if len(shape) != x.ndim or any(
        isinstance(want, int) and want != got for want, got in zip(shape[1:], x.shape[1:], strict=True)
    ):
        raise ModelError(
            f"{path.name} takes inputs of shape ({', '.join(map(str, shape))}); got {x.shape}. Give data of "
            "that size"
        )


def _list_text(values: list[Any]) -> str:
    return (
        ", ".join(f"{value.name} {value.type} ({', '.join(map(str, value.shape))})" for value in values)
        or "nothing"
    )
