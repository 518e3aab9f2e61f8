"""Interval bounds of operations in a ``forward``: ``+ - * /``, functional forms of layers, and reshapes."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintain.certify.interval.arithmetic import BINARY_OPERATORS
from quintain.certify.interval.domain import BatchSize, Interval
from quintain.certify.interval.layer_bounds import WITHOUT_BOUNDS, bound_layer
from quintain.certify.interval.reshapes import (
    METHOD_OF_FUNCTION,
    RESHAPE_METHODS,
    reshape,
    takes_every_example,
)
from quintain.certify.interval.tensor_functions import FUNCTIONS, concatenate, describe, has_type
from quintain.certify.rounding import RoundingModel
from quintain.core.errors import ModelError


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
    # several operands, of which any may be an interval
    if target in BINARY_OPERATORS and len(args) == 2 and not kwargs:
        return BINARY_OPERATORS[target](args[0], args[1], rounding)
    if target in {torch.cat, torch.concat, torch.concatenate}:
        return concatenate(name, *args, **kwargs)
    if args and isinstance(args[0], Interval):
        interval, settings = args[0], args[1:]
        target = METHOD_OF_FUNCTION.get(target, target)
        # a bound is proven for every batch size, so that the size of this batch may decide nothing but views
        if target not in {"view", "reshape"} and has_type(BatchSize, (settings, kwargs)):
            raise ModelError(
                f"operation {name!r} is set by {describe(BatchSize())}; use x.shape[0] as the first size of "
                "a view alone"
            )
        # values that change: a functional form has the rule of its layer
        if target in FUNCTIONAL_LAYERS:
            return bound_layer(FUNCTIONAL_LAYERS[target](*settings, **kwargs), interval, rounding, name)
        if target in FUNCTIONS:
            return FUNCTIONS[target](interval, rounding, name, *settings, **kwargs)
        # the same values in another shape, or some of each example's: center and radius go alike
        if target in RESHAPE_METHODS:
            return reshape(target, interval, settings, kwargs, name)
        if target is operator.getitem and takes_every_example(settings[0]):
            return interval.reshape(operator.itemgetter(settings[0]))
        # the shape, in which the batch size stays a ``BatchSize``
        if target == "size" and not kwargs:
            return interval.shape[settings[0]] if settings else interval.shape
        if target == "dim":
            return interval.center.dim()
        if target is getattr and settings == ("shape",):
            return interval.shape
        # in evaluation mode dropout does nothing
        if target in {F.dropout, F.dropout2d} and not kwargs.get("training", True):
            return interval
    raise _no_rule_error(target, name)


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
        # the net's own tensors are exact, but what is computed with them has roundings that are not charged
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
