"""Helpers for modules that training scripts use."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from quintain.dp.opacus.refused import missing_name_getattr

__all__ = [
    "are_state_dict_equal",
    "clone_module",
    "get_submodule",
    "has_trainable_params",
    "parametrized_modules",
    "requires_grad",
    "trainable_modules",
    "trainable_parameters",
]
__getattr__ = missing_name_getattr(__name__)


def parametrized_modules(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Layers with parameters of their own, by name."""
    return (
        (name, child)
        for name, child in module.named_modules()
        if next(child.parameters(recurse=False), None) is not None
    )


def trainable_modules(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Layers with trainable parameters of their own, by name."""
    return ((name, child) for name, child in parametrized_modules(module) if requires_grad(child))


def trainable_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters that require a gradient, by name."""
    return ((name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad)


def requires_grad(module: nn.Module, *, recurse: bool = False) -> bool:
    """Whether a parameter of the module itself, or of any inside it, requires a gradient."""
    return any(parameter.requires_grad for parameter in module.parameters(recurse))


def has_trainable_params(module: nn.Module) -> bool:
    """Whether a parameter of the module itself requires a gradient."""
    return requires_grad(module)


def clone_module(module: nn.Module) -> nn.Module:
    """A copy on the same device."""
    return copy.deepcopy(module)


def get_submodule(module: nn.Module, target: str) -> nn.Module:
    """The module inside that has a name."""
    return module.get_submodule(target)


def are_state_dict_equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two states have the same names and tensors."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
