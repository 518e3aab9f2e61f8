"""Validation and replacement of further kinds of layer."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import nn

from quintain.dp.opacus.refused import missing_name_getattr
from quintain.dp.opacus.validators.module_validator import ModuleValidator

__all__ = ["register_module_fixer", "register_module_validator"]
__getattr__ = missing_name_getattr(__name__)


F = TypeVar("F", bound=Callable[..., Any])


def register_module_validator(kinds: type[nn.Module] | Sequence[type[nn.Module]]) -> Callable[[F], F]:
    """Register a function that returns the errors of a layer, for exact types of layers."""
    return _register(ModuleValidator.VALIDATORS, kinds)


def register_module_fixer(kinds: type[nn.Module] | Sequence[type[nn.Module]]) -> Callable[[F], F]:
    """Register a function that returns the replacement of a layer, for exact types of layers."""
    return _register(ModuleValidator.FIXERS, kinds)


def _register(
    into: dict[type[nn.Module], Any], kinds: type[nn.Module] | Sequence[type[nn.Module]]
) -> Callable[[F], F]:
    def register(function: F) -> F:
        into.update(dict.fromkeys((kinds,) if isinstance(kinds, type) else kinds, function))
        return function

    return register
