"""Interval bounds of operations in a ``forward``: ``+ - * /``, functional forms of layers, and reshapes."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from quintain.certify.interval.domain import BatchSize, Interval
from quintain.certify.interval.layer_bounds import WITHOUT_BOUNDS, bound_layer
from quintain.certify.interval.tensor_functions import FUNCTIONS, concatenate, describe
from quintain.certify.rounding import RoundingModel
from quintain.core.errors import ModelError


def add(a: Any, b: Any, rounding: RoundingModel) -> Interval:
    """Bounds of ``a + b``, of two intervals (a residual connection) or of an interval and a constant."""
    if isinstance(a, Interval) and isinstance(b, Interval):
        if a.center.ndim != b.center.ndim or len(a.center) != len(b.center):
            raise ModelError(
                f"values of shapes {tuple(a.center.shape)} and {tuple(b.center.shape)} meet, so that one "
                "example would meet another; expected as many dimensions, the first for examples"
            )
        return a.add(b, rounding)
    interval, constant = (a, b) if isinstance(a, Interval) else (b, a)
    return _shift(interval, _broadcastable_constant(constant, interval, rounding), rounding)


def subtract(a: Any, b: Any, rounding: RoundingModel) -> Interval:
    """Bounds of ``a - b``."""
    if isinstance(b, Interval):
        return add(a, multiply(b, -1.0, rounding), rounding)
    return _shift(a, -_broadcastable_constant(b, a, rounding), rounding)


def multiply(a: Any, b: Any, rounding: RoundingModel) -> Interval:
    """Bounds of ``a * b``, of an interval and a constant; a product of two intervals has no rule."""
    if isinstance(a, Interval) and isinstance(b, Interval):
        raise ModelError(
            "a product of two computed values has no bound rule; interval bounds know products with constants"
        )
    interval, constant = (a, b) if isinstance(a, Interval) else (b, a)
    return interval.elementwise_affine(
        _broadcastable_constant(constant, interval, rounding),
        interval.center.new_zeros(()),
        rounding,
        roundings=2,
    )


def divide(a: Any, b: Any, rounding: RoundingModel) -> Interval:
    """Bounds of ``a / b`` by a constant; some devices multiply by the inverse instead: three roundings."""
    if isinstance(b, Interval):
        raise ModelError(
            "a division by a computed value has no bound rule; interval bounds know divisions by constants"
        )
    return a.elementwise_affine(
        rounding.inverse(_broadcastable_constant(b, a, rounding)),
        a.center.new_zeros(()),
        rounding,
        roundings=3,
    )


def _shift(interval: Interval, shift: Tensor, rounding: RoundingModel) -> Interval:
    return interval.elementwise_affine(interval.center.new_ones(()), shift, rounding, roundings=2)


def _broadcastable_constant(value: Tensor | float, interval: Interval, rounding: RoundingModel) -> Tensor:
    """Return the constant in the type of the bounds; a Python number is first rounded to the model's type."""
    center = interval.center
    if not isinstance(value, Tensor):
        if isinstance(value, BatchSize) or not isinstance(value, int | float):
            raise ModelError(
                f"a value is combined with {describe(value)}; expected a number or a tensor of the net"
            )
        return center.new_tensor(rounding.number(value, "the forward"))
    rounding.require_type(value, "the forward")
    if value.ndim > center.ndim or (value.ndim == center.ndim and len(value) != 1):
        raise ModelError(
            f"a constant of shape {tuple(value.shape)} gives each example of a batch its own; expected one "
            "for all of them"
        )
    return value.to(center.dtype)


BINARY_OPERATORS: dict[Any, Callable[[Any, Any, RoundingModel], Interval]] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), add),
    **dict.fromkeys((operator.sub, operator.isub, torch.sub, "sub", "sub_"), subtract),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul", "mul_"), multiply),
    **dict.fromkeys((operator.truediv, operator.itruediv, torch.div, "div", "div_"), divide),
}

INPLACE_OPERATORS = {
    *(operator.iadd, operator.isub, operator.imul, operator.itruediv),
    *(torch.relu_, F.hardtanh_),
}
"""Functions that write into their first operand."""


def _clamp(min: float | None = None, max: float | None = None) -> nn.Module:
    """Return the layer that a clamp between two numbers, or at one from one side, stands for."""
    low, high = -math.inf if min is None else min, math.inf if max is None else max
    if low == 0 and max is None:
        return nn.ReLU()
    if isinstance(low, int | float) and isinstance(high, int | float) and low < high:
        return nn.Hardtanh(low, high)
    raise ModelError(
        f"a clamp from {min} to {max} has no bound rule; one between two numbers, or at one number from "
        "below or above, has"
    )


def _hardtanh(min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> nn.Module:
    del inplace  # a write into the input is followed where it is traced
    return _clamp(min_val, max_val)


FUNCTIONAL_LAYERS: dict[Any, Callable[..., nn.Module]] = {
    torch.relu: nn.ReLU,
    F.relu: nn.ReLU,
    torch.relu_: nn.ReLU,
    "relu": nn.ReLU,
    "relu_": nn.ReLU,
    F.relu6: nn.ReLU6,
    F.hardtanh: _hardtanh,
    F.hardtanh_: _hardtanh,
    F.leaky_relu: nn.LeakyReLU,
    **dict.fromkeys((torch.sigmoid, "sigmoid", "sigmoid_"), nn.Sigmoid),
    **dict.fromkeys((torch.tanh, "tanh", "tanh_"), nn.Tanh),
    F.gelu: nn.GELU,
    **dict.fromkeys((torch.clamp, torch.clip, "clamp", "clamp_", "clip", "clip_"), _clamp),
    F.max_pool2d: nn.MaxPool2d,
    F.avg_pool2d: nn.AvgPool2d,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    torch.flatten: lambda start_dim=0, end_dim=-1: nn.Flatten(start_dim, end_dim),
}
"""Functional forms of layers, which take the layer's settings in its order."""

RESHAPE_METHODS = {
    *("view", "reshape", "flatten", "contiguous", "squeeze", "unsqueeze"),
    *("permute", "transpose"),
}
METHOD_OF_FUNCTION = {
    torch.reshape: "reshape",
    torch.squeeze: "squeeze",
    torch.unsqueeze: "unsqueeze",
    torch.permute: "permute",
    torch.transpose: "transpose",
}
"""Functions that are the method of that name."""

CONSTANT_FUNCTIONS = {
    operator.getitem,
    operator.add,
    operator.sub,
    operator.mul,
    operator.floordiv,
    operator.truediv,
    operator.neg,
}
CONSTANT_METHODS = {"view", "reshape", "unsqueeze", "size"}
"""Operations allowed on shapes and tensors of the net: the same in each call, without randomness or
writes.
"""


def bound_call(
    target: Any, args: Sequence[Any], kwargs: Mapping[str, Any], rounding: RoundingModel, name: str
) -> Any:
    """Bound a call of ``target`` with at least one interval among its arguments.

    ``target`` is a function, or the name of a method.

    Raises:
        ModelError: If it has no rule.
    """
    if target in BINARY_OPERATORS and len(args) == 2 and not kwargs:
        return BINARY_OPERATORS[target](args[0], args[1], rounding)
    if target in {torch.cat, torch.concat, torch.concatenate}:
        return concatenate(name, *args, **kwargs)
    if args and isinstance(args[0], Interval):
        interval, settings = args[0], args[1:]
        target = METHOD_OF_FUNCTION.get(target, target)
        if target not in {"view", "reshape"} and has_type(BatchSize, (settings, kwargs)):
            raise ModelError(
                f"operation {name!r} is set by {describe(BatchSize())}; use x.shape[0] as the first size of "
                "a view alone"
            )
        if target in FUNCTIONAL_LAYERS:
            return bound_layer(FUNCTIONAL_LAYERS[target](*settings, **kwargs), interval, rounding, name)
        if target in FUNCTIONS:
            return FUNCTIONS[target](interval, rounding, name, *settings, **kwargs)
        if target in RESHAPE_METHODS:
            return _reshape(target, interval, settings, kwargs, name)
        if target is operator.getitem and _takes_every_example(settings[0]):
            return interval.reshape(operator.itemgetter(settings[0]))
        if target == "size" and not kwargs:
            return interval.shape[settings[0]] if settings else interval.shape
        if target == "dim":
            return interval.center.dim()
        if target is getattr and settings == ("shape",):
            return interval.shape
        if target in {F.dropout, F.dropout2d} and not kwargs.get("training", True):
            return interval
    raise _no_rule_error(target, name)


def _reshape(
    target: str, interval: Interval, settings: Sequence[Any], kwargs: Mapping[str, Any], name: str
) -> Interval:
    """Bounds of another shape of the same values, in which examples stay apart.

    Raises:
        ModelError: If they do not for every batch size.
    """
    if target in {"view", "reshape"}:
        _require_apart(settings, kwargs, name)
    if target in {"squeeze", "unsqueeze"}:
        dims = (*settings, *kwargs.values())
        _require_own_dimension(dims, interval.center.ndim + (target == "unsqueeze"), name)
    if target in {"permute", "transpose"}:
        _require_examples_first(target, settings, kwargs, interval.center.ndim, name)
    # bounds may lie in memory otherwise than the values
    method = "reshape" if target == "view" else target

    def f(value: Tensor) -> Tensor:
        # linear bounds also reshape rows, of which there is another number
        sizes = fx.node.map_aggregate(
            tuple(settings), lambda one: len(value) if isinstance(one, BatchSize) else one
        )
        return getattr(value, method)(*sizes, **kwargs)

    return _require_same_batch(interval.reshape(f), interval, name)


def evaluate_constant_call(
    target: Any, args: Sequence[Any], kwargs: Mapping[str, Any], rounding: RoundingModel, name: str
) -> Any:
    """Evaluate a call on shapes and tensors of the net alone.

    Raises:
        ModelError: If it is not known to give the same in each call, on each device.
    """
    if (
        (target is operator.getitem or target is operator.add)
        and isinstance(args[0], tuple)
        and not has_type(BatchSize, args[1:])
    ):
        return target(*args)  # a number of a shape, a part of it, or more behind it
    if has_type(BatchSize, (args, kwargs)):
        raise ModelError(
            f"operation {name!r} computes with {describe(BatchSize())}; use x.shape[0] as the first size of "
            "a view alone"
        )
    if target in CONSTANT_FUNCTIONS:
        if rounding.inexact and target is not operator.getitem and has_type(Tensor, args):
            raise ModelError(
                f"operation {name!r} computes with the net's own tensors alone, which other devices may "
                "round otherwise; keep the result in a buffer, or write it with the input in it, such as x "
                "+ x * g for x * (1 + g)"
            )
        return target(*args, **kwargs)
    if target in CONSTANT_METHODS:
        return getattr(args[0], target)(*args[1:], **kwargs)
    raise _no_rule_error(target, name)


def has_type(kind: type, values: Any) -> bool:
    """Tell whether a value of this type is among nested arguments."""
    found: list[bool] = []
    fx.node.map_aggregate(values, lambda value: found.append(isinstance(value, kind)))
    return any(found)


def _require_apart(settings: Sequence[Any], kwargs: Mapping[str, Any], name: str) -> None:
    """Refuse a new shape that keeps examples apart only in batches of one size.

    Raises:
        ModelError: If its first size is neither the batch size nor -1, or another one depends on the batch
            size.
    """
    sizes = settings[0] if settings and isinstance(settings[0], tuple | list) else settings
    if kwargs or not sizes or not all(isinstance(size, int) for size in sizes):
        raise ModelError(
            f"operation {name!r} has no bound rule with these arguments; write it with sizes alone, such as "
            "x.view(-1, 16)"
        )
    if not (isinstance(sizes[0], BatchSize) or sizes[0] == -1) or has_type(BatchSize, tuple(sizes[1:])):
        raise ModelError(
            f"operation {name!r} takes the shape {tuple(map(int, sizes))}, in which examples must stay apart "
            "for every batch size: begin it with x.shape[0] or -1, with fixed sizes behind, or use "
            "flatten(1)"
        )


def _require_own_dimension(given: Sequence[Any], ndim: int, name: str) -> None:
    """Refuse to add or remove another dimension, of ``ndim`` with it, than one inside each example.

    Raises:
        ModelError: If none is named, or that of the examples.
    """
    if len(given) != 1 or not isinstance(given[0], int) or not given[0] % ndim:
        raise ModelError(
            f"operation {name!r} has no bound rule with these arguments; name one dimension that is not the "
            "examples' (0), such as x.squeeze(1)"
        )


def _require_examples_first(
    target: str, settings: Sequence[Any], kwargs: Mapping[str, Any], ndim: int, name: str
) -> None:
    """Refuse another order of dimensions in which the examples' is not the first.

    Raises:
        ModelError: If it is not.
    """
    given = (*settings, *kwargs.values())
    dims = given[0] if len(given) == 1 and isinstance(given[0], tuple | list) else given
    first = [dim % ndim for dim in dims if isinstance(dim, int)]
    if len(first) != len(dims) or (first[:1] != [0] if target == "permute" else 0 in first):
        raise ModelError(
            f"operation {name!r} is a {target} of dimensions {tuple(dims)}; expected one that leaves the "
            "examples' dimension, 0, the first"
        )


def _takes_every_example(index: Any) -> bool:
    """Tell whether an index, such as ``[:, 0]``, takes a part of each example."""
    return (
        isinstance(index, tuple)
        and index[0] == slice(None)
        and all(
            one is None or one is Ellipsis or (isinstance(one, int | slice) and not isinstance(one, bool))
            for one in index[1:]
        )
    )


def _no_rule_error(target: Any, name: str) -> ModelError:
    if isinstance(target, type):
        return ModelError(
            f"the forward puts values into a {target.__name__}, a dataclass or named tuple, which may "
            "compute with them; interval bounds follow tensors, dicts and plain tuples: return one of "
            "these, or the logits alone"
        )
    label = target if isinstance(target, str) else getattr(target, "__name__", repr(target))
    return ModelError(
        f"operation {name!r} ({label}) has no bound rule; write it with layers that have one "
        f"(docs/your-own-model.md). {WITHOUT_BOUNDS}"
    )


def _require_same_batch(result: Interval, interval: Interval, name: str) -> Interval:
    if not result.center.ndim or len(result.center) != len(interval.center):
        raise ModelError(
            f"operation {name!r} turns a batch of {len(interval.center)} into {len(result.center)}; examples "
            "must stay apart"
        )
    return result
