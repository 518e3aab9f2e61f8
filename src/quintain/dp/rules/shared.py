"""Gradients of several parameters that share one side of their outer products, such as those at the gates of a recurrent layer."""

from functools import cached_property

import torch
from torch import Tensor

from quintain.dp import cost, forms
from quintain.dp.forms import Dense, Outer, PerExample, dots, lengths


class Shared:
    """Gradients at outputs (B, T, outputs), with what several parameters need of them, worked out once.

    Args:
        g: They.
        inputs: Width of all that they are multiplied by.
    """

    def __init__(self, g: Tensor, inputs: int) -> None:
        self.g = g
        batch, positions, outputs = g.shape
        self.ghost = positions > 1 and batch * positions**2 <= forms.KEPT and cost.ghost(positions, inputs, outputs)
        self._weighted: tuple[Tensor, Tensor] | None = None

    def outer(self, a: Tensor) -> PerExample:
        """Gradients of a matrix whose inputs are ``a`` (B, T, inputs): built at once where that is the way to their norms, and they fit."""
        fits = self.g.shape[1] > 1 and len(a) * a.shape[2] * self.g.shape[2] <= forms.KEPT
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

    def times(self, root: Tensor) -> Tensor:
        """Each example's times its number (B,), position after position."""
        if self._weighted is None or not torch.equal(self._weighted[0], root):
            self._weighted = root, (self.g * root[:, None, None]).flatten(0, 1)
        return self._weighted[1]


class SharedOuter(Outer):
    """As ``Outer``; its ghost norm, and its sum, take what they can from what is shared.

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
        quick = dots(torch.bmm(self.a, self.a.mT), self._shared.products)
        if not quick.isfinite().all():
            return super().squared()
        terms = self.a.shape[1] + sum(self.shape)
        return quick.double().clamp(min=0) + terms * torch.finfo(self.a.dtype).eps * self.reach().square()

    def reach(self) -> Tensor:
        return dots(lengths(self.a), self._shared.lengths)

    def add_to(self, into: Tensor, weights: Tensor) -> None:
        root = weights.sqrt().to(self.g.dtype)
        into.addmm_(self._shared.times(root).mT, (self.a * root[:, None, None]).flatten(0, 1))
