"""The floating-point precision in which gradients are computed, measured and summed."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_map

from quintain.core.errors import PrivacyError
from quintain.models.precision import Lowered, lowered_precision

PER_OPERATION_SUFFIX = ".fp32_precision"
"""What the settings of torch 2.9 and later end with; there is one for each library and operation."""


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
    lowered = lowered_precision(device)
    for setting in lowered:
        if not setting.setting.startswith("torch."):
            raise PrivacyError(
                f"gradients cannot be clipped to their bound in fewer bits than float32 has: {setting}"
            )
    try:
        for setting in lowered:
            _set(setting, full=True)
        yield
    finally:
        for setting in lowered:
            _set(setting, full=False)


def require_full_precision(device: torch.device) -> None:
    """Raise if float32 products may be rounded more coarsely now."""
    lowered = lowered_precision(device)
    if lowered:
        raise PrivacyError(
            "a backward pass runs while float32 products may have fewer bits, and how they are rounded "
            "depends on the size of the batch; expected loss.backward() of a loss made of the module's "
            f"outputs, which sees to that, or full precision: {lowered[0]}"
        )


@contextmanager
def without_autocast(kind: str) -> Iterator[None]:
    """A context without autocast."""
    with torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext():
        yield


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


def _set(setting: Lowered, *, full: bool) -> None:
    """Set full precision, or restore the setting: to what it inherits, if that is what it was."""
    name = setting.setting
    if name.endswith(PER_OPERATION_SUFFIX):
        holder: Any = torch
        for part in name.removeprefix("torch.").removesuffix(PER_OPERATION_SUFFIX).split("."):
            holder = getattr(holder, part)
        holder.fp32_precision = "ieee" if full else "none"
        if not full and holder.fp32_precision != setting.value:
            holder.fp32_precision = setting.value
    elif name.startswith("torch.get_float32_matmul_precision"):
        torch.set_float32_matmul_precision("highest" if full else setting.value)
    else:
        torch.backends.cudnn.allow_tf32 = not full
