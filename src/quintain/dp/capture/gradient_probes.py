"""Probes by gradients: whether a model's outputs, or the terms of a loss, depend on other examples."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.capture.batch_dim import batch_dim_of
from quintain.dp.capture.hooks import Capture
from quintain.dp.capture.module_reruns import NO_DEPENDENCE
from quintain.dp.per_example.grads import PerExampleGrads

Halves = tuple[Tensor, Tensor]
"""The rows of a pass, in two halves."""


def probe_model(capture: Capture, outputs: Sequence[Tensor], halves: Halves, batch_dim: int) -> str:
    """Return whether a backward pass from the outputs of one half gives gradients of the other half.

    Args:
        capture: The capture of the module.
        outputs: Its outputs in a pass.
        halves: The rows of the pass, in two halves.
        batch_dim: Which dimension of the outputs is the batch.

    Raises:
        PrivacyError: If it does.
    """
    names = {parameter: name for name, parameter in capture.root.named_parameters()}
    size = outputs[0].shape[batch_dim_of(outputs[0], batch_dim)]
    parameters_without_grad = set(names)
    for half, other_half in (halves, halves[::-1]):
        # a backward pass from the outputs of one half must give no gradient of the other half
        grads = capture.dry_run(_weighted_sum([_rows(x, half, batch_dim) for x in outputs]))
        if not grads:
            return "not probed: no gradient reaches the module from its output"
        for parameter, gradient in grads.items():
            num_examples = len(gradient.squared_norms())
            if num_examples != size:
                return f"not probed: {size} outputs for {num_examples} examples"
            if _any_finite_nonzero(_weighted_grad_sum(gradient, parameter, other_half, size)):
                raise PrivacyError(
                    "the output of one example depends on another: a backward pass from it gives "
                    f"gradients of parameter {names[parameter]!r} for other examples too; expected a "
                    "module that looks at each example by itself (no batch statistics, no attention "
                    "over the batch, no mean over dimension 0)"
                )
            if _any_finite_nonzero(_weighted_grad_sum(gradient, parameter, half, size)):
                parameters_without_grad.discard(parameter)
    # a parameter without any gradient shows nothing
    unchecked = [
        name
        for parameter, name in names.items()
        if parameter in parameters_without_grad and parameter.requires_grad
    ]
    return f"not checked: the gradient was zero, of {', '.join(unchecked)}" if unchecked else NO_DEPENDENCE


def probe_loss(loss: Tensor, passes: Sequence[tuple[list[Tensor], Halves]], batch_dim: int) -> str:
    """Return whether the gradient at some outputs depends on others, by second derivatives of the loss.

    Args:
        loss: A function of the outputs.
        passes: The outputs of each pass, and its rows in two halves.
        batch_dim: Which dimension of the outputs is the batch.

    Raises:
        PrivacyError: If it does.
    """
    outputs = [x for pass_outputs, _ in passes for x in pass_outputs]
    if loss.numel() != 1:
        return "not probed: the loss is not one number"
    grads = torch.autograd.grad(loss.sum(), outputs, create_graph=True, allow_unused=True)
    if not any(grad is not None and bool((grad != 0).any()) for grad in grads):
        return "not checked: the gradient was zero"
    if not any(grad is not None and grad.requires_grad for grad in grads):
        return "not checked: the loss is linear in the outputs, or can be differentiated only once"
    # d/d o_j of dL/d o_i must vanish for j != i; distinct weights keep terms from cancelling. Within a
    # pass one half is probed against the other, and each pass against all others
    pass_of_output = [index for index, (pass_outputs, _) in enumerate(passes) for _ in pass_outputs]
    for pass_index, (_, halves) in enumerate(passes):
        for half, other_half in (halves, halves[::-1]):
            pass_grads = [
                grad
                for grad, index in zip(grads, pass_of_output, strict=True)
                if index == pass_index and grad is not None and grad.requires_grad
            ]
            if not pass_grads:
                continue
            half_sum = _weighted_sum([_rows(grad, half, batch_dim) for grad in pass_grads])
            second_grads: tuple[Tensor | None, ...] = torch.autograd.grad(
                half_sum, outputs, retain_graph=True, allow_unused=True
            )
            for second_grad, index in zip(second_grads, pass_of_output, strict=True):
                if second_grad is not None and _any_finite_nonzero(
                    _rows(second_grad, other_half, batch_dim) if index == pass_index else second_grad
                ):
                    raise PrivacyError(
                        "the loss mixes the examples of a batch: the gradient at one example's output "
                        "depends on another's output; expected a mean or sum of one term an example (no "
                        "contrastive or ranking loss within the batch, no norm or logarithm of a batch's "
                        "sum)"
                    )
    return NO_DEPENDENCE


def leaf_parameters(loss: Tensor) -> list[nn.Parameter]:
    """Return the parameters that a backward pass would reach; captured ones are not in its graph."""
    parameters, seen, nodes = [], set(), [loss.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if isinstance(variable, nn.Parameter):
            parameters.append(variable)
        nodes += [next_node for next_node, _ in node.next_functions]
    return parameters


def _rows(x: Tensor, rows: Tensor, batch_dim: int) -> Tensor:
    """Return some examples of a tensor."""
    return x.index_select(batch_dim_of(x, batch_dim), rows.to(x.device))


def _weighted_sum(tensors: Sequence[Tensor]) -> Tensor:
    """Return a sum of all entries with distinct weights, so that no two cancel by symmetry."""
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    return torch.dot(flat, torch.linspace(1, 2, len(flat), dtype=flat.dtype, device=flat.device))


def _weighted_grad_sum(gradient: PerExampleGrads, parameter: nn.Parameter, rows: Tensor, size: int) -> Tensor:
    """Return a weighted sum of the gradients of some examples, computed as the clipped sum is.

    Weights between 1 and 2, one for each example, keep the gradients of two examples from cancelling; where
    no example has a gradient, the sum is exactly zero.

    Args:
        gradient: Per-example gradients of the parameter.
        parameter: The parameter.
        rows: The examples to sum over.
        size: Number of examples of the pass.
    """
    weights = torch.zeros(size, dtype=torch.float64, device=parameter.device)
    weights[rows.to(weights.device)] = torch.linspace(
        1, 2, len(rows), dtype=torch.float64, device=weights.device
    )
    total = torch.zeros_like(parameter, requires_grad=False, memory_format=torch.contiguous_format)
    gradient.add_weighted_sum_to(total, weights)
    return total


def _any_finite_nonzero(x: Tensor) -> bool:
    """Return whether any entry is finite and not zero; NaN shows nothing, as zero times infinity is NaN."""
    return bool(((x != 0) & x.isfinite()).any())
