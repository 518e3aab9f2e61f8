"""Find the settings of torch that let float32 products run with fewer bits than float32 has."""

import functools
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, TypeVar

import torch

from quintain.core.errors import ModelError
from quintain.models.devices import device_of

P = ParamSpec("P")
R = TypeVar("R")

Operation = Literal["matmul", "conv", "rnn"]
OPERATIONS: tuple[Operation, ...] = ("matmul", "conv", "rnn")
FULL = {"none", "ieee"}
"""Values of ``fp32_precision`` that lower nothing; torch's own getters resolve what an operation inherits."""

PER_OPERATION_SUFFIX = ".fp32_precision"
"""What the settings of torch 2.9 and later end with; there is one for each library and operation."""


@dataclass(frozen=True, slots=True)
class PrecisionSetting:
    """A setting that lowers the precision of float32 products.

    Args:
        setting: Its name, as it is read.
        value: What it is.
        remedy: The line that switches it off.
    """

    setting: str
    value: str
    remedy: str

    @property
    def can_be_switched_off(self) -> bool:
        """Whether it can be while Python runs: not so in the environment, which is read at the start."""
        return self.setting.startswith("torch.")

    def __str__(self) -> str:
        return f"{self.setting} is {self.value!r}; switch it off with `{self.remedy}`"


def lowered_precision(
    device: torch.device | str, operations: Collection[Operation] = OPERATIONS
) -> tuple[PrecisionSetting, ...]:
    """Return the settings that lower the precision of float32 products on a device.

    Nothing is changed, and no GPU is needed to ask.

    The CPU obeys oneDNN's settings, CUDA those of cuBLAS and cuDNN (whose convolutions run in TF32 unless
    told otherwise); another device may obey either, so both are read.

    Args:
        device: Where the products run.
        operations: Which of them: ``matmul``, ``conv``, ``rnn``. Convolutions and recurrent layers may be
            computed as matrix products.
    """
    kind = torch.device(device).type
    relevant = [one for one in OPERATIONS if one in operations or one == "matmul"]
    found: list[PrecisionSetting] = []
    if kind != "cuda":
        found += [*_onednn(relevant), *_environment()]
    if kind != "cpu":
        found += _cuda(relevant)
    return tuple(found)


def require_full_precision(
    device: torch.device | str, operations: Collection[Operation] = OPERATIONS, *, why: str
) -> None:
    """Refuse to go on while a setting lowers the precision of float32 products.

    Args:
        device, operations: As for ``lowered_precision``.
        why: What needs full precision, such as ``interval bounds count float32 roundings``.

    Raises:
        ModelError: If there is one, with its name and how to switch it off.
    """
    found = lowered_precision(device, operations)
    if found:
        raise ModelError(
            f"float32 products on {torch.device(device).type} may run in fewer bits, and {why}: "
            f"{'; '.join(map(str, found))}"
        )


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """A context in which float32 products have all their bits; lower precision is restored afterwards.

    What the environment lowers stays as it is.

    Args:
        device: Where the products run.
    """
    lowered = [one for one in lowered_precision(device) if one.can_be_switched_off]
    try:
        for setting in lowered:
            _set(setting, full=True)
        yield
    finally:
        for setting in lowered:
            _set(setting, full=False)


@contextmanager
def plain_products(device: torch.device) -> Iterator[None]:
    """A context in which a float32 product is one, also in a convolution: full precision, and no cuDNN.

    cuDNN may compute convolutions by Winograd's method or by FFT, of whose rounding nothing is known.
    """
    enabled = torch.backends.cudnn.enabled
    with full_precision(device):
        try:
            torch.backends.cudnn.enabled = enabled and device.type != "cuda"
            yield
        finally:
            torch.backends.cudnn.enabled = enabled


@contextmanager
def without_autocast(kind: str) -> Iterator[None]:
    """A context without autocast on a kind of device, such as ``cpu``."""
    with torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext():
        yield


def in_full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that its first argument, a model or its holder, answers in full precision."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with full_precision(device_of(getattr(args[0], "model", args[0]))):
            return function(*args, **kwargs)

    return run


def _onednn(operations: Collection[Operation]) -> Iterator[PrecisionSetting]:
    """oneDNN on the CPU may take bfloat16 or TF32 products."""
    if not _has_fp32_precision():
        yield from _legacy_matmul()
        return
    for operation in operations:
        value = str(getattr(torch.backends.mkldnn, operation).fp32_precision)
        name = f"torch.backends.mkldnn.{operation}.fp32_precision"
        if value not in FULL:
            yield PrecisionSetting(name, value, f'{name} = "ieee"')


def _cuda(operations: Collection[Operation]) -> Iterator[PrecisionSetting]:
    """cuBLAS and cuDNN may take TF32 products."""
    if not _has_fp32_precision():
        yield from _legacy_matmul()
        if torch.backends.cudnn.allow_tf32 and set(operations) - {"matmul"}:
            yield PrecisionSetting(
                "torch.backends.cudnn.allow_tf32", "True", "torch.backends.cudnn.allow_tf32 = False"
            )
        return
    for operation in operations:
        place = "cuda.matmul" if operation == "matmul" else f"cudnn.{operation}"
        holder = (
            torch.backends.cuda.matmul if operation == "matmul" else getattr(torch.backends.cudnn, operation)
        )
        value, name = str(holder.fp32_precision), f"torch.backends.{place}.fp32_precision"
        if value not in FULL:
            yield PrecisionSetting(name, value, f'{name} = "ieee"')


def _legacy_matmul() -> Iterator[PrecisionSetting]:
    """Read the one setting for matrix products on all devices before torch 2.9.

    It also reads ``cuda.matmul.allow_tf32``.
    """
    value = torch.get_float32_matmul_precision()
    if value != "highest":
        yield PrecisionSetting(
            "torch.get_float32_matmul_precision()", value, 'torch.set_float32_matmul_precision("highest")'
        )


def _environment() -> Iterator[PrecisionSetting]:
    """oneDNN's own default, read from the environment when it is loaded."""
    for name in ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"):
        value = os.environ.get(name, "strict")
        if value.lower() != "strict":
            yield PrecisionSetting(
                f"the environment variable {name}", value, f"unset {name} before Python starts"
            )


def _has_fp32_precision() -> bool:
    """Whether torch has one setting for each operation (2.9 and later)."""
    return hasattr(torch.backends, "fp32_precision")


def _set(setting: PrecisionSetting, *, full: bool) -> None:
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
