"""Backward pass differentiable approximation."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Transform = Callable[[Tensor], Tensor]


class BPDA(nn.Module):
    r"""A defense :math:`g` with its exact output and the gradient of a differentiable substitute :math:`h`.

    .. math:: forward: g(x), \qquad backward: \left(\frac{\partial h}{\partial x}\right)^{\!T} v

    Without a substitute it is the identity, which is right only where g(x) is near x: rounding, JPEG, a
    median. Resizing is not.

    Args:
        defense: The step in front of the net; any callable on tensors.
        substitute: The stand-in, differentiable, with outputs of the same shape.

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
        """Return the defense's own answer."""
        result: Tensor = _StraightThrough.apply(x, self.defense, self.substitute)
        return result


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, defense: Transform, substitute: Transform | None) -> Tensor:
        ctx.save_for_backward(x)
        ctx.stand_in = substitute
        output = defense(x.detach())
        return output.clone() if output is x else output

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        if ctx.stand_in is None:
            return upstream[0], None, None
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(ctx.stand_in(point), point, upstream[0])
        return gradient, None, None
