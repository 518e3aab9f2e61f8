"""The floating-point precision in which gradients are computed, measured and summed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_map

from quintain.core.errors import PrivacyError
from quintain.models import precision
from quintain.models.precision import lowered_precision, without_autocast


@contextmanager
def full_precision_without_autocast(device: torch.device) -> Iterator[None]:
    """A context with all bits of float32 and without autocast, so that sums round as the norms did."""
    with without_autocast(device.type), full_precision(device):
        yield


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """A context in which float32 products have all their bits; lower precision is restored afterwards.

    How kernels round depends on the size of a batch: one record less would move the gradients of all others.

    Raises:
        PrivacyError: If a setting lowers precision that cannot be switched off while Python runs.
    """
    fixed = [one for one in lowered_precision(device) if not one.can_be_switched_off]
    if fixed:
        raise PrivacyError(
            f"gradients cannot be clipped to their bound in fewer bits than float32 has: {fixed[0]}"
        )
    with precision.full_precision(device):
        yield


def require_full_precision(device: torch.device) -> None:
    """Raise if float32 products may be rounded more coarsely now."""
    lowered = lowered_precision(device)
    if lowered:
        raise PrivacyError(
            "a backward pass runs while float32 products may have fewer bits, and how they are rounded "
            "depends on the size of the batch; expected loss.backward() of a loss made of the module's "
            f"outputs, which sees to that, or full precision: {lowered[0]}"
        )


def widen(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a bfloat16 tensor of a pass under autocast in the dtype of the weights.

    It holds the same numbers.
    """
    return x.to(dtype) if x.dtype == torch.bfloat16 and dtype in (torch.float32, torch.float64) else x


def widen_all(called: Any, dtype: torch.dtype) -> Any:
    """``widen`` for everything that a layer is called with."""

    def one(x: Any) -> Any:
        return (
            widen(x, dtype)
            if isinstance(x, Tensor)
            else x.to(dtype)
            if isinstance(x, PackedSequence) and x.data.dtype == torch.bfloat16
            else x
        )

    return tree_map(one, called, is_leaf=lambda x: isinstance(x, PackedSequence))
