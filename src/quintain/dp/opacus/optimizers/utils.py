"""Parameters of an optimizer."""

import torch
from torch import nn

from quintain.dp.opacus.refused import missing_name_getattr

__all__ = ["params"]
__getattr__ = missing_name_getattr(__name__)


def params(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Parameters of an optimizer that require a gradient."""
    return [
        parameter
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.requires_grad
    ]
