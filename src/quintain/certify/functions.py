"""Bound rules of operations that a ``forward`` calls on values: arithmetic, and the functional forms of layers."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintain.certify.arithmetic import Arithmetic
from quintain.certify.rules import LAYERS, bound_layer
from quintain.certify.span import Span
from quintain.core.errors import ModelError


def add(a: Any, b: Any, arithmetic: Arithmetic) -> Span:
    """``a + b`` of two spans (a residual connection), or of a span and a constant."""
    if isinstance(a, Span) and isinstance(b, Span):
        return a.plus(b, arithmetic)
    span, constant = (a, b) if isinstance(a, Span) else (b, a)
    return span.affine(span.center.new_ones(()), _constant(constant, span), arithmetic, terms=2)


def subtract(a: Any, b: Any, arithmetic: Arithmetic) -> Span:
    """``a - b``."""
    return add(a, multiply(b, -1.0, arithmetic) if isinstance(b, Span) else -b, arithmetic)


def multiply(a: Any, b: Any, arithmetic: Arithmetic) -> Span:
    """``a * b`` of a span and a constant; a product of two spans has no rule."""
    if isinstance(a, Span) and isinstance(b, Span):
        raise ModelError("a product of two computed values has no bound rule; interval bounds know products with constants")
    span, constant = (a, b) if isinstance(a, Span) else (b, a)
    return span.affine(_constant(constant, span), span.center.new_zeros(()), arithmetic, terms=2)


def divide(a: Any, b: Any, arithmetic: Arithmetic) -> Span:
    """``a / b`` by a constant, which some devices turn into a product with its inverse: three roundings."""
    if isinstance(b, Span):
        raise ModelError("a division by a computed value has no bound rule; interval bounds know divisions by constants")
    return a.affine(1 / _constant(b, a), a.center.new_zeros(()), arithmetic, terms=3)


def _constant(value: Tensor | float, span: Span) -> Tensor:
    """A constant as the bounds see it; a Python number is rounded by the model, which one of the terms covers."""
    constant = torch.as_tensor(value, dtype=span.center.dtype, device=span.center.device)
    if constant.ndim > span.center.ndim or (constant.ndim == span.center.ndim and len(constant) != 1):
        raise ModelError(f"a constant of shape {tuple(constant.shape)} gives each example of a batch its own; expected one for all of them")
    return constant


ARITHMETIC: dict[Any, Callable[[Any, Any, Arithmetic], Span]] = {
    operator.add: add,
    operator.iadd: add,
    torch.add: add,
    operator.sub: subtract,
    operator.isub: subtract,
    torch.sub: subtract,
    operator.mul: multiply,
    operator.imul: multiply,
    torch.mul: multiply,
    operator.truediv: divide,
    operator.itruediv: divide,
    torch.div: divide,
}

IN_PLACE = {operator.iadd, operator.isub, operator.imul, operator.itruediv}
"""Operations that write into their first operand."""

FUNCTIONS: dict[Any, Callable[..., nn.Module]] = {
    torch.relu: nn.ReLU,
    F.relu: nn.ReLU,
    F.leaky_relu: nn.LeakyReLU,
    F.max_pool2d: nn.MaxPool2d,
    F.avg_pool2d: nn.AvgPool2d,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    torch.flatten: lambda start_dim=0, end_dim=-1: nn.Flatten(start_dim, end_dim),
}
"""Functions of one value that take the settings of a layer, in its order."""

RESHAPES = {"view", "reshape", "flatten", "contiguous"}

CONSTANT = {operator.getitem, operator.add, operator.sub, operator.mul, operator.floordiv, operator.truediv, operator.neg}
CONSTANT_METHODS = {"view", "reshape", "unsqueeze", "size"}
"""What may be done to shapes and buffers: the same in each call, and nothing that draws or writes."""


def bound_function(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any], arithmetic: Arithmetic, name: str) -> Any:
    """The value of a call of ``target``, a function or the name of a method, of which at least one argument is a span.

    Raises:
        ModelError: If it has no rule.
    """
    if target in ARITHMETIC and len(args) == 2 and not kwargs:
        return ARITHMETIC[target](args[0], args[1], arithmetic)
    if args and isinstance(args[0], Span):
        span, settings = args[0], args[1:]
        if target in FUNCTIONS:
            return _kept(bound_layer(FUNCTIONS[target](*settings, **kwargs), span, arithmetic, name), span, name)
        if target == "relu" and not settings:
            return bound_layer(nn.ReLU(), span, arithmetic, name)
        if target in RESHAPES:
            return _kept(span.reshape(lambda value: getattr(value, target)(*settings, **kwargs)), span, name)
        if target in {"size", "dim"}:
            return getattr(span.center, target)(*settings, **kwargs)
        if target is getattr and settings == ("shape",):
            return span.center.shape
        if target is F.dropout and not kwargs.get("training", True):
            return span
    raise _unknown(target, name)


def constant_function(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any], name: str) -> Any:
    """The value of a call on shapes and buffers alone.

    Raises:
        ModelError: If it is not known to give the same in each call.
    """
    if target in CONSTANT:
        return target(*args, **kwargs)
    if target in CONSTANT_METHODS:
        return getattr(args[0], target)(*args[1:], **kwargs)
    raise _unknown(target, name)


def _unknown(target: Any, name: str) -> ModelError:
    label = target if isinstance(target, str) else getattr(target, "__name__", repr(target))
    known = ", ".join(sorted(layer.__name__ for layer in LAYERS))
    return ModelError(f"operation {name!r} ({label}) has no bound rule; write it with layers that have one: {known}")


def _kept(result: Span, span: Span, name: str) -> Span:
    if len(result.center) != len(span.center):
        raise ModelError(f"operation {name!r} turns a batch of {len(span.center)} into {len(result.center)}; examples must stay apart")
    return result
