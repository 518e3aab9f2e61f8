"""Output gradients shared by several parameters, such as those at the gates of a recurrent layer."""

import math
from functools import cached_property

import torch
from torch import Tensor

from quintain.dp.per_example import cost_model, numerics
from quintain.dp.per_example.grads import DenseGrads, OuterProductGrads, PerExampleGrads
from quintain.dp.per_example.numerics import ghost_norm_and_scale, position_norms, rowwise_dot


class SharedOutputGrads:
    """Gradients at outputs (B, T, outputs), and what several parameters need of them, computed once.

    Args:
        g: The gradients.
        inputs: Total width of the inputs that they are multiplied by.
    """

    def __init__(self, g: Tensor, inputs: int) -> None:
        self.g = g
        batch, positions, outputs = g.shape
        self.uses_ghost_norm = (
            positions > 1
            and batch * positions**2 <= numerics.MAX_WORKING_SET
            and cost_model.ghost_norm_is_cheaper(positions, inputs, outputs)
        )

    def grads_for(self, a: Tensor) -> PerExampleGrads:
        """Gradients of a matrix with inputs ``a`` (B, T, inputs); materialized where cheaper and they fit."""
        fits = self.g.shape[1] > 1 and len(a) * a.shape[2] * self.g.shape[2] <= numerics.MAX_WORKING_SET
        return (
            SharedOuterProductGrads(a, self)
            if self.uses_ghost_norm or not fits
            else DenseGrads(torch.bmm(self.g.mT, a))
        )

    @cached_property
    def gram(self) -> Tensor:
        """The Gram matrix of each example's positions, (B, T, T)."""
        return torch.bmm(self.g, self.g.mT)

    @cached_property
    def position_norms(self) -> Tensor:
        """The norm at each position, (B, T) float64."""
        return position_norms(self.g)

    @cached_property
    def bias_grads(self) -> PerExampleGrads:
        """The gradients of a bias."""
        return DenseGrads(self.g.sum(1))


class SharedOuterProductGrads(OuterProductGrads):
    """``OuterProductGrads`` whose norm uses what is shared.

    Args:
        a: Inputs (B, T, inputs).
        shared: Gradients at the outputs.
    """

    def __init__(self, a: Tensor, shared: SharedOutputGrads) -> None:
        super().__init__(a, shared.g)
        self._shared = shared

    def squared_norms(self) -> Tensor:
        if not self._shared.uses_ghost_norm:
            return super().squared_norms()
        norms_and_scale = ghost_norm_and_scale(torch.bmm(self.a, self.a.mT), self._shared.gram).double()
        return (
            self._with_rounding_margin([norms_and_scale])
            if math.isfinite(norms_and_scale.sum())
            else super().squared_norms()
        )

    def norm_without_cancellation(self) -> Tensor:
        return rowwise_dot(position_norms(self.a), self._shared.position_norms)
