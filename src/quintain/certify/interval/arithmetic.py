"""Interval bounds of ``+ - * /``, of two intervals or of one and a constant of the net."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from quintain.certify.interval.domain import BatchSize, Interval
from quintain.certify.interval.tensor_functions import describe
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
