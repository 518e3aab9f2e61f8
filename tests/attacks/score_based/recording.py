"""Models that remember what they were asked."""

from collections.abc import Callable

import torch
from torch import Tensor


class Recorder:
    """A model that keeps every batch of images; without a net it always answers class 0, with equal
    scores.
    """

    def __init__(self, net: Callable[[Tensor], Tensor] | None = None) -> None:
        self.net = net or (lambda z: torch.tensor([1.0, 0.0, 0.0]).repeat(len(z), 1))
        self.asked: list[Tensor] = []

    def __call__(self, z: Tensor) -> Tensor:
        self.asked.append(z.clone())
        return self.net(z)


def zeros(count: int) -> Tensor:
    """The labels of examples of class 0."""
    return torch.zeros(count, dtype=torch.long)
