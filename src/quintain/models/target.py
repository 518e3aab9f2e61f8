"""What every model under evaluation can be asked, whether its weights are here or only its answers."""

from typing import Literal, Protocol

import torch
from torch import Tensor

Access = Literal["labels", "scores", "gradients"]


class Target(Protocol):
    """A single-label classifier of inputs (B, *S) in [0, 1]."""

    @property
    def access(self) -> Access:
        """What it gives: labels, scores, or scores with gradients."""

    @property
    def name(self) -> str:
        """What it is called in results."""

    @property
    def classes(self) -> int:
        """Number of classes."""

    @property
    def hash(self) -> str:
        """SHA-256 of what is asked: weights and program, a file, or an address."""

    @property
    def parameters(self) -> int:
        """How many weights are known; 0 where none are."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""

    def __call__(self, x: Tensor) -> Tensor:
        """Scores (B, K), K at least 2."""

    def predict(self, x: Tensor) -> Tensor:
        """Classes (B,) long."""
