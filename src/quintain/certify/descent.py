"""Gradient steps on the model from inputs at which a bound is least, until one is a counterexample."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

Accepted = TypeVar("Accepted")


def descend(
    begin: Tensor,
    objective: Callable[[Tensor], Tensor],
    move: Callable[[Tensor, Tensor, int], Tensor],
    accept: Callable[[Tensor, Tensor], Accepted | None],
    steps: int,
    is_over: Callable[[], bool] = lambda: False,
) -> Accepted | None:
    """Return what is accepted first of some inputs, and of those that gradient steps from them lead to.

    Args:
        begin: Inputs (N, *S).
        objective: The function (N,) of the inputs whose gradient the steps use.
        move: Returns the next inputs, given these, the gradient of the objective and the number of the step.
        accept: Given inputs and their objectives, returns what was found among them; None for nothing.
        steps: How many steps are taken.
        is_over: Whether the time is up.
    """
    z = begin
    for step in range(steps + 1):
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            values = objective(z)
            gradient = torch.autograd.grad(values.sum(), z)[0]
        z = z.detach()
        found = accept(z, values.detach())
        if found is not None or is_over():
            return found
        if step < steps:
            z = move(z, gradient, step)
    return None
