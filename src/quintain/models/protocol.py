"""The interface of every model under evaluation, whether its weights are known or only its outputs."""

from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

Access = Literal["labels", "scores", "gradients"]

ACCESS: tuple[Access, ...] = get_args(Access)
"""Kinds of access to a model, the least first; each includes those before it."""


def includes_access(given: str, needed: str) -> bool:
    """Return whether one kind of access to a model includes another: scores include labels."""
    kinds: tuple[str, ...] = ACCESS
    return kinds.index(given) >= kinds.index(needed)


class ClassifierLike(Protocol):
    """A single-label classifier of inputs (B, *S) in [0, 1]."""

    @property
    def access(self) -> Access:
        """What the model gives: labels, scores, or scores with gradients."""

    @property
    def name(self) -> str:
        """The model's name in results."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""

    @property
    def hash(self) -> str:
        """SHA-256 that identifies the model: of its weights and program, of a file, or of an address."""

    @property
    def num_parameters(self) -> int:
        """Number of weights; 0 where they are not known."""

    @property
    def device(self) -> torch.device:
        """The device on which the model computes."""

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type in which the model computes."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return scores (B, K), K at least 2; ``x`` is left as it is."""

    def predict(self, x: Tensor) -> Tensor:
        """Return the predicted classes (B,), int64."""
