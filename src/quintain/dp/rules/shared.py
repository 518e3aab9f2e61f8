"""Gradients of several parameters that share one side of their outer products, such as those at the gates of a recurrent layer."""

import math
from functools import cached_property

import torch
from torch import Tensor

from quintain.dp.gradients import cost, numbers
from quintain.dp.gradients.forms import Dense, Outer, PerExample
from quintain.dp.gradients.numbers import crossed, dots, lengths


class Shared:
    """Gradients at outputs (B, T, outputs), with what several parameters need of them, worked out once.

    Args:
        g: They.
        inputs: Width of all that they are multiplied by.
    """

    def __init__(self, g: Tensor, inputs: int) -> None:
        self.g = g
        batch, positions, outputs = g.shape
        self.ghost = positions > 1 and batch * positions**2 <= numbers.KEPT and cost.ghost(positions, inputs, outputs)

    def outer(self, a: Tensor) -> PerExample:
        """Gradients of a matrix whose inputs are ``a`` (B, T, inputs): built at once where that is the way to their norms, and they fit."""
        fits = self.g.shape[1] > 1 and len(a) * a.shape[2] * self.g.shape[2] <= numbers.KEPT
        return SharedOuter(a, self) if self.ghost or not fits else Dense(torch.bmm(self.g.mT, a))

    @cached_property
    def products(self) -> Tensor:
        """Of each two positions of an example, (B, T, T)."""
        return torch.bmm(self.g, self.g.mT)

    @cached_property
    def lengths(self) -> Tensor:
        """At each position, (B, T) float64."""
        return lengths(self.g)

    @cached_property
    def summed(self) -> PerExample:
        """Gradients of a bias."""
        return Dense(self.g.sum(1))


class SharedOuter(Outer):
    """As ``Outer``; its norm takes what it can from what is shared.

    Args:
        a: Inputs (B, T, inputs).
        shared: Gradients at the outputs.
    """

    def __init__(self, a: Tensor, shared: Shared) -> None:
        super().__init__(a, shared.g)
        self._shared = shared

    def squared(self) -> Tensor:
        if not self._shared.ghost:
            return super().squared()
        found = crossed(torch.bmm(self.a, self.a.mT), self._shared.products).double()
        return self.raised([found]) if math.isfinite(found.sum()) else super().squared()

    def reach(self) -> Tensor:
        return dots(lengths(self.a), self._shared.lengths)
