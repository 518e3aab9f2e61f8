"""Backward pass differentiable approximation (BPDA): gradients through a step that has none."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from quintain.core.errors import ModelError

Transform = Callable[[Tensor], Tensor]
"""Maps inputs (B, *S) to what the net gets."""


class BPDA(nn.Module):
    r"""A defense :math:`g` with its exact output and the gradient of a differentiable substitute :math:`h`.

    .. math:: forward: g(x), \qquad backward: \left(\frac{\partial h}{\partial x}\right)^{\!T} v

    Without a substitute h is the identity, which is right only where g(x) is near x, as after rounding, JPEG
    or a median filter; after resizing it is not.

    Args:
        defense: The defense g in front of the net; any callable on tensors.
        substitute: The differentiable h, with outputs of the shape of the defense's.

    Raises:
        ModelError: In the backward pass, if the substitute has no gradient or not the defense's shape.

    Guarantee:
        The wrapped model has the same outputs, bit for bit, so that a success found through it is one against
        the defended model.

    Source: Athalye et al., 2018, arXiv:1802.00420.
    """

    def __init__(self, defense: Transform, substitute: Transform | None = None) -> None:
        super().__init__()
        self.defense = defense
        self.substitute = substitute

    def forward(self, x: Tensor) -> Tensor:
        """Return the defense's exact output."""
        result: Tensor = _StraightThrough.apply(x, self.defense, self.substitute)
        return result


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, defense: Transform, substitute: Transform | None) -> Tensor:
        ctx.save_for_backward(x)
        ctx.substitute = substitute
        output = defense(x.detach())
        return output.clone() if output is x else output

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            stand_in = point if ctx.substitute is None else ctx.substitute(point)
        if stand_in.shape != upstream[0].shape or not stand_in.requires_grad:
            got = f"{tuple(stand_in.shape)}{'' if stand_in.requires_grad else ' without a gradient'}"
            raise ModelError(
                f"the defense maps {tuple(x.shape)} to {tuple(upstream[0].shape)}, its substitute to {got}; "
                "expected a differentiable substitute of the defense's shape: BPDA(defense, substitute)"
            )
        (gradient,) = torch.autograd.grad(stand_in, point, upstream[0])
        return gradient, None, None
