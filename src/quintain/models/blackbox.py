"""A model of which only the outputs are seen: a function of arrays, an ONNX file, or a remote endpoint."""

from collections.abc import Callable
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from quintain.core.errors import ModelError, QuintainError, SettingError
from quintain.core.user_code import FAILURES, failure_text
from quintain.models.adapters import label_hint
from quintain.models.fingerprint import function_fingerprint
from quintain.models.memory import is_out_of_memory

PredictFunction = Callable[[np.ndarray], Any]
"""A function from inputs (B, *S), float32 in [0, 1], to scores (B, K) or labels (B,)."""


@final
class BlackBox:
    """A single-label classifier that can only be queried.

    Scores may be logits, probabilities or counts: the largest one marks the predicted class. Labels become
    scores of 0 and 1. NaN is passed on; attacks count such an example as an error.

    Args:
        predict_fn: Takes inputs (B, *S) as a float32 array in [0, 1], a copy of its own; returns scores
            (B, K), or integer labels (B,).
        access: What it returns: ``scores`` or ``labels``.
        num_classes: Number of classes; taken from the first scores if not given, and needed for labels. There
            may be more scores, for classes that do not occur; they then count, too.
        name: The model's name in results.
        hash: SHA-256 that identifies the model; by default of ``predict_fn``: its program, and what it holds
            as far as Python or pickle can read it (see ``value_hash.value_parts``). Give one where it holds
            what cannot be read (a session of another runtime, a connection), or what differs from run to
            run.
        cached: Whether a repeated input gets its first output again, from a cache, so that randomness cannot
            be seen.

    Raises:
        SettingError: If ``access`` is neither, or labels come without ``classes``.
        ModelError: When called, if the function fails or its output has the wrong shape or type.
    """

    dtype = torch.float32
    device = torch.device("cpu")
    num_parameters = 0

    def __init__(
        self,
        predict_fn: PredictFunction,
        *,
        access: Literal["labels", "scores"] = "scores",
        num_classes: int | None = None,
        name: str = "function",
        hash: str | None = None,
        cached: bool = False,
    ) -> None:
        if access not in ("labels", "scores"):
            raise SettingError(
                f"access = {access!r}; expected 'labels' or 'scores': for gradients, wrap a torch.nn.Module "
                "in Classifier"
            )
        if num_classes is None and access == "labels":
            raise SettingError(
                f"{name} gives labels, which do not tell how many classes there are; give num_classes=..."
            )
        if num_classes is not None and num_classes < 2:
            raise SettingError(f"num_classes = {num_classes}; expected at least 2")
        self.access: Literal["labels", "scores"] = access
        self.name = name
        self.cached = cached
        self.hash = function_fingerprint(predict_fn) if hash is None else hash
        self._predict_fn = predict_fn
        self._given_classes = num_classes
        self._num_scores: int | None = None

    def __repr__(self) -> str:
        classes = self._num_scores or self._given_classes or "unknown"
        return f"BlackBox({self.name}: {self.access}, {classes} classes)"

    @property
    def num_classes(self) -> int:
        """Number of scores; before there were any, and for labels, the number of classes that was given.

        Raises:
            ModelError: If it was not given and the model was not queried yet.
        """
        found = self._num_scores or self._given_classes
        if found is None:
            raise ModelError(
                f"the number of classes of {self.name} is not known yet; give num_classes=... or query it "
                "once"
            )
        return found

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Return scores (B, K) on the device of ``x``, without gradient; labels as rows of 0 and 1."""
        if not x.is_floating_point() or x.ndim < 2:
            raise ModelError(
                f"an input of shape {tuple(x.shape)} and type {x.dtype}; expected a batch of floating-point "
                "examples in [0, 1]"
            )
        if not len(x):  # nothing to ask, and few functions take no input at all
            return x.new_zeros((0, self._num_scores or self._given_classes or 2), dtype=torch.float32)
        try:
            # a copy: the function may write into what it gets
            given = np.asarray(self._predict_fn(x.to("cpu", torch.float32).contiguous().numpy().copy()))
        except QuintainError:
            raise
        except FAILURES as error:
            if is_out_of_memory(error):
                raise
            raise ModelError(
                f"{self.name} fails on an input of shape {tuple(x.shape)}: {failure_text(error)}"
            ) from error
        convert = self._from_labels if self.access == "labels" else self._from_scores
        return convert(given, len(x)).to(x.device)

    def predict(self, x: Tensor) -> Tensor:
        """Return the class of the largest score, (B,), int64."""
        return self(x).argmax(1)

    def _from_labels(self, given: np.ndarray, batch_size: int) -> Tensor:
        if given.shape != (batch_size,) or given.dtype.kind not in "iu":
            raise ModelError(
                f"{self.name} gives {_describe(given)} for {batch_size} inputs; expected integer labels of "
                f"shape ({batch_size},)"
            )
        if not (given.min() >= 0 and given.max() < self.num_classes):
            raise ModelError(
                f"{self.name} gives labels from {given.min()} to {given.max()}; expected 0 to "
                f"{self.num_classes - 1}, or the number of classes that it knows: --classes (num_classes=...)"
            )
        return one_hot(torch.from_numpy(given.astype(np.int64)), self.num_classes).float()

    def _from_scores(self, given: np.ndarray, batch_size: int) -> Tensor:
        if given.dtype.kind != "f" or given.ndim != 2 or len(given) != batch_size or given.shape[1] < 2:
            hint = "; for labels say access='labels'" if given.dtype.kind in "iu" else ""
            if given.shape in ((batch_size,), (batch_size, 1)) and not hint:
                hint = "; from one probability p make (1 - p, p)"
            raise ModelError(
                f"{self.name} gives {_describe(given)} for {batch_size} inputs; "
                f"expected floating-point scores of shape ({batch_size}, K), K at least 2{hint}"
            )
        count, least = given.shape[1], self._given_classes or 2
        if count < least:
            raise ModelError(
                f"{self.name} gives {count} scores an input; expected {least} or more, one a class"
                f"{label_hint(count, least)}"
            )
        if count != (self._num_scores or count):
            raise ModelError(
                f"{self.name} gives {count} scores an input; expected {self._num_scores}, as before"
            )
        self._num_scores = count
        return torch.from_numpy(
            np.array(given, dtype=np.float64 if given.dtype == np.float64 else np.float32)
        )


def _describe(given: np.ndarray) -> str:
    return f"shape {given.shape} and type {given.dtype}"
