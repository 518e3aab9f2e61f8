"""Bound rules of operations that a ``forward`` calls on values: arithmetic, and the functional forms of layers."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from quintain.certify.arithmetic import Arithmetic
from quintain.certify.rules import LAYERS, bound_layer
from quintain.certify.span import BatchSize, Span
from quintain.core.errors import ModelError


def add(a: Any, b: Any, arithmetic: Arithmetic) -> Span:
    """``a + b`` of two spans (a residual connection), or of a span and a constant."""
    if isinstance(a, Span) and isinstance(b, Span):
        if a.center.ndim != b.center.ndim or len(a.center) != len(b.center):
            raise ModelError(
                f"values of shapes {tuple(a.center.shape)} and {tuple(b.center.shape)} meet, so that one example would meet another; "
                "expected as many dimensions, the first for examples"
            )
        return a.plus(b, arithmetic)
    span, constant = (a, b) if isinstance(a, Span) else (b, a)
    return _shifted(span, _constant(constant, span, arithmetic), arithmetic)


def subtract(a: Any, b: Any, arithmetic: Arithmetic) -> Span:
    """``a - b``."""
    if isinstance(b, Span):
        return add(a, multiply(b, -1.0, arithmetic), arithmetic)
    return _shifted(a, -_constant(b, a, arithmetic), arithmetic)


def multiply(a: Any, b: Any, arithmetic: Arithmetic) -> Span:
    """``a * b`` of a span and a constant; a product of two spans has no rule."""
    if isinstance(a, Span) and isinstance(b, Span):
        raise ModelError("a product of two computed values has no bound rule; interval bounds know products with constants")
    span, constant = (a, b) if isinstance(a, Span) else (b, a)
    return span.affine(_constant(constant, span, arithmetic), span.center.new_zeros(()), arithmetic, terms=2)


def divide(a: Any, b: Any, arithmetic: Arithmetic) -> Span:
    """``a / b`` by a constant, which some devices turn into a product with its inverse: three roundings."""
    if isinstance(b, Span):
        raise ModelError("a division by a computed value has no bound rule; interval bounds know divisions by constants")
    return a.affine(arithmetic.inverse(_constant(b, a, arithmetic)), a.center.new_zeros(()), arithmetic, terms=3)


def _shifted(span: Span, shift: Tensor, arithmetic: Arithmetic) -> Span:
    return span.affine(span.center.new_ones(()), shift, arithmetic, terms=2)


def _constant(value: Tensor | float, span: Span, arithmetic: Arithmetic) -> Tensor:
    """A constant in the type of the bounds: a tensor of the net as it is, a Python number as the model rounds it."""
    center = span.center
    if not isinstance(value, Tensor):
        if isinstance(value, BatchSize) or not isinstance(value, int | float):
            raise ModelError(f"a value is combined with {_told(value)}; expected a number or a tensor of the net")
        return center.new_tensor(arithmetic.number(value, "the forward"))
    arithmetic.require_type(value, "the forward")
    if value.ndim > center.ndim or (value.ndim == center.ndim and len(value) != 1):
        raise ModelError(f"a constant of shape {tuple(value.shape)} gives each example of a batch its own; expected one for all of them")
    return value.to(center.dtype)


def _told(value: object) -> str:
    return "the batch size, which is another number in the next call" if isinstance(value, BatchSize) else f"a {type(value).__name__}"


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
"""What may be done to shapes and to tensors of the net: the same in each call, and nothing that draws, writes or rounds."""


def bound_function(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any], arithmetic: Arithmetic, name: str) -> Any:
    """The value of a call of ``target``, a function or the name of a method, of which at least one argument is a span.

    Raises:
        ModelError: If it has no rule.
    """
    if target in ARITHMETIC and len(args) == 2 and not kwargs:
        return ARITHMETIC[target](args[0], args[1], arithmetic)
    if args and isinstance(args[0], Span):
        span, settings = args[0], args[1:]
        if target not in {"view", "reshape"} and _has(BatchSize, (settings, kwargs)):
            raise ModelError(f"operation {name!r} is set by {_told(BatchSize())}; use x.shape[0] as the first size of a view alone")
        if target in FUNCTIONS:
            return bound_layer(FUNCTIONS[target](*settings, **kwargs), span, arithmetic, name)
        if target == "relu" and not settings:
            return bound_layer(nn.ReLU(), span, arithmetic, name)
        if target in {"view", "reshape"}:
            _require_apart(settings, kwargs, name)
        if target in RESHAPES:
            method = "reshape" if target == "view" else target  # bounds may lie in memory otherwise than the values
            return _kept(span.reshape(lambda value: getattr(value, method)(*settings, **kwargs)), span, name)
        if target == "size" and not kwargs:
            return span.shape[settings[0]] if settings else span.shape
        if target == "dim":
            return span.center.dim()
        if target is getattr and settings == ("shape",):
            return span.shape
        if target is F.dropout and not kwargs.get("training", True):
            return span
    raise _unknown(target, name)


def constant_function(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any], arithmetic: Arithmetic, name: str) -> Any:
    """The value of a call on shapes and tensors of the net alone.

    Raises:
        ModelError: If it is not known to give the same in each call, on each device.
    """
    if (target is operator.getitem or target is operator.add) and isinstance(args[0], tuple) and not _has(BatchSize, args[1:]):
        return target(*args)  # a number of a shape, a part of it, or more behind it
    if _has(BatchSize, (args, kwargs)):
        raise ModelError(f"operation {name!r} computes with {_told(BatchSize())}; use x.shape[0] as the first size of a view alone")
    if target in CONSTANT:
        if arithmetic.rounds and target is not operator.getitem and _has(Tensor, args):
            raise ModelError(
                f"operation {name!r} computes with the net's own tensors alone, which other devices may round otherwise; keep the result "
                "in a buffer, or write it with the input in it, such as x + x * g for x * (1 + g)"
            )
        return target(*args, **kwargs)
    if target in CONSTANT_METHODS:
        return getattr(args[0], target)(*args[1:], **kwargs)
    raise _unknown(target, name)


def _has(kind: type, values: Any) -> bool:
    """Whether a value of this type is among nested arguments."""
    found: list[bool] = []
    fx.node.map_aggregate(values, lambda value: found.append(isinstance(value, kind)))
    return any(found)


def _require_apart(settings: Sequence[Any], kwargs: Mapping[str, Any], name: str) -> None:
    """Refuse a new shape that keeps examples apart in batches of one size alone.

    Raises:
        ModelError: If its first size is neither the batch size nor -1, or another one depends on the batch size.
    """
    sizes = settings[0] if settings and isinstance(settings[0], tuple | list) else settings
    if kwargs or not sizes or not all(isinstance(size, int) for size in sizes):
        raise ModelError(f"operation {name!r} has no bound rule with these arguments; write it with sizes alone, such as x.view(-1, 16)")
    if not (isinstance(sizes[0], BatchSize) or sizes[0] == -1) or _has(BatchSize, tuple(sizes[1:])):
        raise ModelError(
            f"operation {name!r} takes the shape {tuple(map(int, sizes))}, in which examples must stay apart for every batch size: "
            "begin it with x.shape[0] or -1, with fixed sizes behind, or use flatten(1)"
        )


def _unknown(target: Any, name: str) -> ModelError:
    if isinstance(target, type):
        return ModelError(
            f"the forward puts values into a {target.__name__}, a dataclass or named tuple, which may compute with them; interval bounds "
            "follow tensors, dicts and plain tuples: return one of these, or the logits alone"
        )
    label = target if isinstance(target, str) else getattr(target, "__name__", repr(target))
    known = ", ".join(sorted(layer.__name__ for layer in LAYERS))
    return ModelError(f"operation {name!r} ({label}) has no bound rule; write it with layers that have one: {known}")


def _kept(result: Span, span: Span, name: str) -> Span:
    if not result.center.ndim or len(result.center) != len(span.center):
        raise ModelError(f"operation {name!r} turns a batch of {len(span.center)} into {len(result.center)}; examples must stay apart")
    return result
