"""Gradient steps on the model from inputs at which a bound is least, until one is a counterexample."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

Found = TypeVar("Found")


def descend(
    begin: Tensor,
    height: Callable[[Tensor], Tensor],
    move: Callable[[Tensor, Tensor, int], Tensor],
    accept: Callable[[Tensor, Tensor], Found | None],
    steps: int,
    is_over: Callable[[], bool] = lambda: False,
) -> Found | None:
    """Return what is accepted first of some inputs, and of those that gradient steps from them lead to.

    Args:
        begin: Inputs (N, *S).
        height: What is changed by the steps (N,), of the inputs.
        move: Returns the next inputs, given these, the gradient of their heights and the number of the step.
        accept: Given inputs and their heights, returns what was found among them; None for nothing.
        steps: How many steps are taken.
        is_over: Whether the time is up.
    """
    z = begin
    for step in range(steps + 1):
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            heights = height(z)
            gradient = torch.autograd.grad(heights.sum(), z)[0]
        z = z.detach()
        found = accept(z, heights.detach())
        if found is not None or is_over():
            return found
        if step < steps:
            z = move(z, gradient, step)
    return None
