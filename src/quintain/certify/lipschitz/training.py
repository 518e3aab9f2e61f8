"""Lipschitz constants with gradients, for training: estimates by power iteration, and no certificates."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintain.certify.interval.domain import Interval
from quintain.certify.interval.graph import TracedNetwork
from quintain.certify.interval.recording import Operation, Recording
from quintain.certify.lipschitz.growth import operation_norms
from quintain.models.precision import without_autocast

ITERATIONS = 20
"""Power iterations a step; the estimate lies below the norm, which only certificates must not."""


def differentiable_margin_constants(traced: TracedNetwork, x: Tensor) -> Tensor:
    r"""Return estimates (K, K) of the Lipschitz constants of all differences of logits, with gradients.

    Of a net whose last layer is linear with rows w they are :math:`\|w_i - w_j\|_2` times the constant of
    what comes before, else :math:`\sqrt 2` times the constant of the logits; 0 on the diagonal.

    Args:
        traced: ``TracedNetwork.trace(net)``, the net in evaluation mode.
        x: One input (1, *S).

    Raises:
        ModelError: For a layer without a constant, by name.
    """
    with without_autocast(x.device.type):
        return _margin_constants(traced, x)


def _margin_constants(traced: TracedNetwork, x: Tensor) -> Tensor:
    recording = Recording()
    with torch.no_grad():
        interval = Interval(x, torch.zeros_like(x), None, recording.add_input(x.abs()))
        logits = traced.logit_bounds(interval)
    last = logits.operation
    assert last is not None
    constants: list[Tensor] = []
    for operation in recording.operations:
        constants.append(
            x.new_ones(())
            if not operation.sources
            else torch.stack(
                [
                    torch.as_tensor(norm) * constants[source.index]
                    for norm, source in zip(_norms(operation, recording), operation.sources, strict=True)
                ]
            ).sum()
        )
    classes = logits.center.shape[1]
    if traced.head is not None and last.affine is not None:
        rows, constant = traced.head.weight, constants[last.sources[0].index]
    else:
        rows, constant = torch.eye(classes, dtype=x.dtype, device=x.device), constants[last.index]
    if classes == 1:  # one logit z stands for (0, z)
        rows = F.pad(rows, (0, 0, 1, 0))
    squares = (rows[:, None] - rows).square().sum(2)
    # the root has no finite slope at 0
    return torch.where(squares > 0, squares.clamp(min=1e-12).sqrt(), 0.0) * constant


def _norms(operation: Operation, recording: Recording) -> tuple[Tensor | float, ...]:
    layer = recording.layers.get(operation.index)
    if operation.affine is None or not isinstance(layer, nn.Linear | nn.Conv2d):
        return operation_norms(operation, recording)

    def without_bias(values: Tensor) -> Tensor:
        if isinstance(layer, nn.Linear):
            return F.linear(values, layer.weight)
        return layer._conv_forward(values, layer.weight, None)

    return (
        _largest_gain(without_bias, torch.Size((1, *operation.sources[0].terms.shape[1:])), layer.weight),
    )


def _largest_gain(matrix: Callable[[Tensor], Tensor], shape: torch.Size, weight: Tensor) -> Tensor:
    """Estimate the norm of a linear function of its weight, by power iteration from a fixed start."""
    values = torch.empty(shape).normal_(generator=torch.Generator().manual_seed(0)).to(weight)
    with torch.enable_grad():
        for _ in range(ITERATIONS):
            values = (values / torch.linalg.vector_norm(values)).detach().requires_grad_()
            image = matrix(values)
            (values,) = torch.autograd.grad(image, values, image.detach())
    direction = (values / torch.linalg.vector_norm(values)).detach()
    return torch.linalg.vector_norm(matrix(direction))
