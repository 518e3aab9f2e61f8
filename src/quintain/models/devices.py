"""The device that a run computes on: chosen by name, refused where it is absent."""

import os

import torch
from torch import nn

from quintain.core.errors import SettingError
from quintain.models.modules import all_modules, first_floating_tensor

AUTO, CPU = "auto", "cpu"
WITHOUT_FLOAT64 = ("mps",)
"""Kinds of devices without float64, in which perturbations are measured and private gradients are summed."""


def choose_device(name: str = AUTO, *, needs_float64: bool = False) -> torch.device:
    """Return the device of a name, always with its number: ``cuda:0`` for ``cuda``.

    ``auto`` is the accelerator that PyTorch finds (CUDA, XPU, MPS), else the CPU. Of the processes that
    ``torchrun`` starts, each takes its own one, by ``LOCAL_RANK``, unless the name has a number.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or another kind that PyTorch knows.
        needs_float64: Whether the work sums in float64 on the device. ``auto`` is then never one without.

    Raises:
        SettingError: If there is no such device, with those that there are.
    """
    kind = _accelerator_kind()
    if name == AUTO and (kind is None or (needs_float64 and kind in WITHOUT_FLOAT64)):
        return torch.device(CPU)
    try:
        wanted = torch.device(kind if name == AUTO and kind is not None else name)
    except RuntimeError:
        raise SettingError(f"device {name!r}; expected {available_devices()}") from None
    if wanted.type == CPU:
        return torch.device(CPU)
    count = 0 if wanted.type != kind else torch.accelerator.device_count()
    index = wanted.index if wanted.index is not None else _local_rank() % max(1, count)
    if index >= count:
        raise SettingError(
            f"device {name!r}, which PyTorch does not find on this machine; expected {available_devices()}"
        )
    if needs_float64 and wanted.type in WITHOUT_FLOAT64:
        raise SettingError(
            f"device {name!r} has no float64, in which this work is summed and measured; expected {AUTO} or "
            f"{CPU}"
        )
    return torch.device(wanted.type, index)


def available_devices() -> str:
    """Return the names of the devices of this machine, as text: ``auto, cpu, cuda:0 or cuda:1``."""
    kind = _accelerator_kind()
    count = 0 if kind is None else torch.accelerator.device_count()
    *names, last = (AUTO, CPU, *(f"{kind}:{index}" for index in range(count)))
    return f"{', '.join(names)} or {last}"


def describe_device(device: torch.device) -> str:
    """Return a device with its maker's name, where it has one: ``cuda:0 (NVIDIA H100 80GB HBM3)``."""
    if device.type == CPU:
        return CPU
    get_name = getattr(torch.get_device_module(device), "get_device_name", None)
    return str(device) if get_name is None else f"{device} ({get_name(device)})"


def device_of(model: object) -> torch.device:
    """Return the device of a model: of its weights, or what it says itself; the CPU of a plain function."""
    if isinstance(model, nn.Module):
        tensor = first_floating_tensor(all_modules(model))
        return torch.device(CPU) if tensor is None else tensor.device
    found = getattr(model, "device", None)
    return found if isinstance(found, torch.device) else torch.device(CPU)


def search_device(device: torch.device) -> torch.device:
    """Return where inputs and perturbations are kept for a model on a device: the same, if it has float64."""
    return torch.device(CPU) if device.type in WITHOUT_FLOAT64 else device


def _accelerator_kind() -> str | None:
    """Return the kind of this machine's accelerator; None if there is none that works."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return None if accelerator is None else accelerator.type


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK") or 0)
