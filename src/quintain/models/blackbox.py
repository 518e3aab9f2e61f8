"""A model of which only the answers are seen: a function of arrays, a file that another runtime runs, a remote endpoint."""

import hashlib
from collections.abc import Callable
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from quintain.core.errors import ModelError, QuintainError, SettingError
from quintain.models.fingerprint import program

Answer = Callable[[np.ndarray], Any]
"""From inputs (B, *S) float32 in [0, 1] to scores (B, K), or labels (B,)."""


@final
class BlackBox:
    """A single-label classifier that is only asked.

    Scores are whatever is largest for the answered class: logits, probabilities, counts. A model of labels answers with scores 0 and 1.
    NaN is passed on; attacks count such an example as an error.

    Args:
        answer: Takes inputs (B, *S) as a float32 array in [0, 1]; gives scores (B, K), or integer labels (B,).
        access: What it gives: ``scores`` or ``labels``.
        classes: Number of classes; taken from the first scores if not given, and needed for labels.
        name: What it is called in results.
        hash: SHA-256 of what is asked; of the function's own source if not given, which says nothing about what that calls.
        kept: Whether the same input gets its first answer again, so that randomness cannot be seen.

    Raises:
        SettingError: If ``access`` is neither, or labels come without ``classes``.
        ModelError: When called, if the function fails or its answer has the wrong shape or type.
    """

    dtype = torch.float32
    device = torch.device("cpu")
    parameters = 0

    def __init__(
        self,
        answer: Answer,
        *,
        access: Literal["labels", "scores"] = "scores",
        classes: int | None = None,
        name: str = "function",
        hash: str | None = None,
        kept: bool = False,
    ) -> None:
        if access not in ("labels", "scores"):
            raise SettingError(f"access = {access!r}; expected 'labels' or 'scores': for gradients, wrap a torch.nn.Module in Classifier")
        if classes is None and access == "labels":
            raise SettingError(f"{name} gives labels, which do not say how many classes there are; give classes=...")
        if classes is not None and classes < 2:
            raise SettingError(f"classes = {classes}; expected at least 2")
        self.access: Literal["labels", "scores"] = access
        self.name = name
        self.kept = kept
        self.hash = hashlib.sha256(program(answer).encode()).hexdigest() if hash is None else hash
        self._answer = answer
        self._classes = classes

    def __repr__(self) -> str:
        return f"BlackBox({self.name}: {self.access}, {self._classes or 'unknown'} classes)"

    @property
    def classes(self) -> int:
        """Number of classes.

        Raises:
            ModelError: If it was not given and nothing was asked yet.
        """
        if self._classes is None:
            raise ModelError(f"the number of classes of {self.name} is not known yet; give classes=... or ask it once")
        return self._classes

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Scores (B, K) on the device of ``x``, without gradient; labels as rows of 0 and 1."""
        if not x.is_floating_point() or x.ndim < 2:
            raise ModelError(
                f"an input of shape {tuple(x.shape)} and type {x.dtype}; expected a batch of floating-point examples in [0, 1]"
            )
        try:
            given = np.asarray(self._answer(x.to("cpu", torch.float32).contiguous().numpy()))
        except QuintainError:
            raise
        except Exception as error:
            raise ModelError(f"{self.name} fails on an input of shape {tuple(x.shape)}: {type(error).__name__}: {error}") from error
        scores = self._of_labels(given, len(x)) if self.access == "labels" else self._of_scores(given, len(x))
        return scores.to(x.device)

    def predict(self, x: Tensor) -> Tensor:
        """The class of the largest score, (B,), int64."""
        return self(x).argmax(1)

    def _of_labels(self, given: np.ndarray, batch: int) -> Tensor:
        if given.shape != (batch,) or given.dtype.kind not in "iu":
            raise ModelError(f"{self.name} gives {_told(given)} for {batch} inputs; expected integer labels of shape ({batch},)")
        if batch and not (given.min() >= 0 and given.max() < self.classes):
            raise ModelError(f"{self.name} gives labels from {given.min()} to {given.max()}; expected 0 to {self.classes - 1}")
        return one_hot(torch.from_numpy(given.astype(np.int64)), self.classes).float()

    def _of_scores(self, given: np.ndarray, batch: int) -> Tensor:
        if given.dtype.kind != "f" or given.ndim != 2 or len(given) != batch or given.shape[1] < 2:
            hint = "; for labels say access='labels'" if given.dtype.kind in "iu" else ""
            hint = "; from one probability p make (1 - p, p)" if given.shape in ((batch,), (batch, 1)) and not hint else hint
            raise ModelError(
                f"{self.name} gives {_told(given)} for {batch} inputs; "
                f"expected floating-point scores of shape ({batch}, K), K at least 2{hint}"
            )
        if self._classes is None:
            self._classes = given.shape[1]
        if given.shape[1] != self._classes:
            raise ModelError(f"{self.name} gives {given.shape[1]} scores an input; expected {self._classes}, one a class")
        return torch.from_numpy(np.array(given, dtype=np.float64 if given.dtype == np.float64 else np.float32))


def _told(given: np.ndarray) -> str:
    return f"shape {given.shape} and type {given.dtype}"
