"""Conversion of what nets return to logits (B, K)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from quintain.core.errors import ModelError

ADAPTER_VERSION = "adapters-1"
LOGIT_KEYS = ("logits", "out")


def forward_logits(net: nn.Module, x: Tensor) -> Tensor:
    """Return the logits (B, K), K >= 2, of a net for ``x`` (B, *S), whatever it returns (see ``adapt``).

    ``x`` is left as it is: the net gets a copy of its own, into which it may write (``x.sub_(mean)``).

    Raises:
        ModelError: If there are no logits in its output, or they are of the wrong shape or type.
    """
    return adapt(net(x.clone()), len(x))


def adapt(output: Any, batch_size: int) -> Tensor:
    """Extract logits (B, K), K >= 2, from what a net returned for ``batch_size`` examples.

    Of a dict, ``"logits"`` or ``"out"`` is taken, or its only tensor; of an object, ``.logits``; of a tuple
    or list, the first item. One logit an example, (B,) or (B, 1), is the second class's score against zero:
    ``(0, z)``, so that its sigmoid is the softmax. One example may have lost its batch dimension, as
    ``squeeze()`` takes it. Half precision becomes float32.

    Raises:
        ModelError: If there are no logits, or they are of the wrong shape or type.
    """
    logits: Tensor = find_logits(output)
    if not logits.is_floating_point():
        raise ModelError(f"the model returns {logits.dtype}; expected floating-point logits, not labels")
    if batch_size == 1 and logits.ndim < 2:
        logits = logits.reshape(1, -1)
    if logits.shape in ((batch_size,), (batch_size, 1)):
        score = logits.reshape(batch_size)
        logits = torch.stack((torch.zeros_like(score), score), dim=1)
    if logits.ndim != 2 or len(logits) != batch_size:
        raise ModelError(
            f"the model returns shape {tuple(logits.shape)} for {batch_size} examples; "
            f"expected ({batch_size}, classes), one row of logits an example"
        )
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def find_logits(output: Any, tensor_types: tuple[type, ...] = (Tensor,)) -> Any:
    """Find the one value that holds the logits in what a net returned, as it is.

    Args:
        output: What the net returned.
        tensor_types: Types of its values that are tensors, or stand for one while the net is traced.

    Raises:
        ModelError: If there is none, or it is not clear which.
    """
    if isinstance(output, tensor_types):
        return output
    if isinstance(output, Mapping):
        for key in LOGIT_KEYS:
            if key in output:
                return find_logits(output[key], tensor_types)
        tensors = [value for value in output.values() if isinstance(value, tensor_types)]
        if len(tensors) == 1:
            return tensors[0]
        keys = ", ".join(map(repr, output)) or "nothing"
        raise ModelError(f"the model returns a dict with {keys}; expected 'logits', 'out', or one tensor")
    if hasattr(output, "logits"):
        return find_logits(output.logits, tensor_types)
    if isinstance(output, tuple | list) and output:
        return find_logits(output[0], tensor_types)
    raise ModelError(
        f"the model returns {type(output).__name__}; expected logits: a tensor, a dict, a tuple, or an "
        "object with .logits"
    )


def label_hint(num_outputs: int, num_classes: int) -> str:
    """Say what may be wrong where a model has an output less than the data have classes."""
    return f"; if the labels are 1 .. {num_outputs}, subtract 1 from them" * (num_outputs == num_classes - 1)
