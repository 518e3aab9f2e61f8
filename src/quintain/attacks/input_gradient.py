"""The gradient at the points that a model was queried at, or why there is none."""

import torch
from torch import Tensor

from quintain.core.errors import ModelError


def input_gradient(total: Tensor, z: Tensor) -> Tensor:
    """Return the gradient (n, ...) of a sum of losses with respect to the points ``z`` (n, ...).

    Raises:
        ModelError: If the sum does not depend on ``z`` by differentiable steps: it has no gradient at all, as
            after ``detach``, or none that reaches the points, as of an embedding of rounded inputs.
    """
    gradient = torch.autograd.grad(total, z, allow_unused=True)[0] if total.requires_grad else None
    if gradient is None:
        raise ModelError(
            "the model gives no gradient; expected logits that depend on the input by differentiable "
            "steps. Attack it by its outputs: --attack square for scores, --attack hopskipjump for "
            "labels; or as a black box, --model scores:file.py:function or labels:file.py:function"
        )
    return gradient
