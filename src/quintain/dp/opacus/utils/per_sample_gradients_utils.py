"""A check of per-example gradients against those of each example run by itself."""

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from quintain.dp.opacus.grad_sample.grad_sample_module import GradSampleModule
from quintain.dp.opacus.grad_sample.utils import check_mode
from quintain.dp.opacus.refused import missing_name_getattr
from quintain.dp.opacus.utils.module_utils import clone_module

__all__ = ["check_per_sample_gradients_are_correct", "clone_module"]
__getattr__ = missing_name_getattr(__name__)


def check_per_sample_gradients_are_correct(
    x: Tensor | Sequence[Tensor],
    module: nn.Module,
    batch_first: bool = True,
    atol: float = 1e-5,
    rtol: float = 1e-4,
    grad_sample_mode: str = "hooks",
) -> bool:
    """Whether ``grad_sample`` of a copy of the module equals the gradients of each example run by itself, for
    a mean and for a sum.

    Args:
        x: Inputs of a batch: one tensor, or all that the module takes.
        module: Trainable; it must not draw at random.
        batch_first: Whether the first dimension is that of the examples, or the second.
        atol, rtol: What may lie between the two.
        grad_sample_mode: Accepted; there is one way.
    """
    check_mode(grad_sample_mode)
    inputs = (x,) if isinstance(x, Tensor) else tuple(x)
    dim = 0 if batch_first else 1
    examples = inputs[0].shape[dim]
    reductions: tuple[Literal["mean", "sum"], ...] = ("mean", "sum")
    for reduction in reductions:
        alone = copy.deepcopy(module)
        wrapped = GradSampleModule(copy.deepcopy(module), batch_first=batch_first, loss_reduction=reduction)
        loss = _squares(wrapped(*inputs))
        (loss / examples if reduction == "mean" else loss).backward()
        found: list[Tensor] = [
            vars(parameter)["grad_sample"] for parameter in wrapped.parameters() if parameter.requires_grad
        ]
        for i in range(examples):
            alone.zero_grad()
            _squares(alone(*(part.narrow(dim, i, 1) for part in inputs))).backward()
            expected = [parameter.grad for parameter in alone.parameters() if parameter.requires_grad]
            for ours, single in zip(found, expected, strict=True):
                row = torch.zeros_like(ours[i]) if single is None else single
                if not torch.allclose(ours[i], row, rtol=rtol, atol=atol):
                    return False
    return True


def _squares(output: Any) -> Tensor:
    """Of all numbers of an output, one term an example."""
    first: Tensor = output if isinstance(output, Tensor) else output[0]
    return first.square().sum()
