"""Interval bounds of functions that stand for no layer: sums, padding, products with weights."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from quintain.certify.interval.domain import BatchSize, Interval
from quintain.certify.interval.layer_bounds import bound_layer
from quintain.certify.interval.layers import convolve
from quintain.certify.rounding import RoundingModel
from quintain.core.errors import ModelError


def describe(value: object) -> str:
    """Say what a value is that cannot be combined with a computed one."""
    return (
        "the batch size, which is another number in the next call"
        if isinstance(value, BatchSize)
        else f"a {type(value).__name__}"
    )


def has_type(kind: type, values: Any) -> bool:
    """Tell whether a value of this type is among nested arguments."""
    found: list[bool] = []
    fx.node.map_aggregate(values, lambda value: found.append(isinstance(value, kind)))
    return any(found)


def _negate(interval: Interval, _rounding: RoundingModel, _name: str) -> Interval:
    """Bounds of ``-x``, which is exact in floating point."""
    # the ends change places: the center turns, the radius stays, and no number is rounded
    ball = interval.ellipsoid
    found = Interval(-interval.center, interval.radius, ball and replace(ball, center=-ball.center))
    return found.record((interval,), torch.neg)


def _pad(
    interval: Interval,
    rounding: RoundingModel,
    name: str,
    pad: Sequence[int],
    mode: str = "constant",
    value: float | None = None,
) -> Interval:
    """Bounds of a constant around the values of each example.

    Raises:
        ModelError: For another padding, and one round the examples.
    """
    # pad has a pair of widths for each dimension, the last one first: more pairs would go round the examples
    if mode != "constant" or len(pad) % 2 or len(pad) // 2 >= interval.center.ndim:
        raise ModelError(
            f"operation {name!r}, pad({tuple(pad)}, mode={mode!r}) of {interval.center.ndim} dimensions, has "
            "no bound rule; a constant on both sides of dimensions that are not the examples' has, such as "
            "(left, right, top, bottom)"
        )
    return interval.pad(pad, rounding.number(value or 0.0, "the forward"))


def concatenate(name: str, tensors: Sequence[Any], dim: int = 0) -> Interval:
    """Bounds of values behind each other; arguments are torch's.

    Raises:
        ModelError: If one is no computed value of as many examples, or examples are put behind each other.
    """
    others = [part for part in tensors if not isinstance(part, Interval)]
    if others:
        raise ModelError(
            f"operation {name!r} puts a computed value beside {describe(others[0])}; expected computed "
            "values alone: pad with a constant in place of it, F.pad(x, (0, 1), value=1.0)"
        )
    # bounds hold for each example by itself, so that the dimension of examples stays as it is
    sizes = {len(part.center) for part in tensors}
    if len(sizes) > 1 or not dim % tensors[0].center.ndim:
        raise ModelError(
            f"operation {name!r} puts examples behind each other; expected cat along another dimension than 0"
        )
    return Interval.cat(tensors, dim)


def _reduce(
    interval: Interval,
    rounding: RoundingModel,
    name: str,
    dim: Any = None,
    keepdim: bool = False,
    *,
    mean: bool,
    **other: Any,
) -> Interval:
    """Bounds of a sum or a mean over dimensions of the examples, ``x.mean((2, 3))``.

    Raises:
        ModelError: If it is over the examples, or in another type.
    """
    ndim = interval.center.ndim
    dims = tuple(sorted(d % ndim for d in (dim if isinstance(dim, tuple | list) else (dim or 0,))))
    if 0 in dims or not dims or other:  # of no dimension torch sums over all
        raise ModelError(
            f"operation {name!r} is a {'mean' if mean else 'sum'} over dimensions {dim} of {ndim}"
            f"{', in another type' * bool(other)}, which has no bound rule; one over dimensions that are not "
            "the examples' has: x.mean((2, 3)), x.flatten(1).mean(1)"
        )
    # the mean of whole images has the rule of the layer that computes the same
    if mean and dims == (2, 3) and ndim == 4:
        pooled = bound_layer(nn.AdaptiveAvgPool2d(1), interval, rounding, name)
        return pooled if keepdim else pooled.reshape(lambda value: value.flatten(1))
    return interval.total(dims, rounding, mean=mean, keepdim=keepdim)


def _linear(
    interval: Interval, rounding: RoundingModel, name: str, weight: Any, bias: Any = None
) -> Interval:
    """Bounds of ``F.linear`` with weights of the net."""
    weight, bias = _net_tensors(interval, rounding, name, weight, bias)
    return interval.linear(F.linear, weight, bias, rounding, weight.shape[1] + 1)


def _convolution(function: Callable[..., Tensor], rank: int) -> Callable[..., Interval]:
    """Return the bounds of a convolution as a function, with weights of the net."""

    def rule(
        interval: Interval,
        rounding: RoundingModel,
        name: str,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Interval:
        _require_rank(interval, rank, name)
        weight, bias = _net_tensors(interval, rounding, name, weight, bias)
        return convolve(function, interval, weight, bias, rounding, stride, padding, dilation, groups)

    return rule


def _transposed_convolution(function: Callable[..., Tensor], rank: int) -> Callable[..., Interval]:
    """Return the bounds of a transposed convolution as a function, with weights of the net."""

    def rule(
        interval: Interval,
        rounding: RoundingModel,
        name: str,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Interval:
        _require_rank(interval, rank, name)
        weight, bias = _net_tensors(interval, rounding, name, weight, bias)
        settings = (stride, padding, output_padding, groups, dilation)
        return convolve(function, interval, weight, bias, rounding, *settings, groups=groups)

    return rule


def _require_rank(interval: Interval, rank: int, name: str) -> None:
    if interval.center.ndim != rank:
        raise ModelError(
            f"operation {name!r} gets values of {interval.center.ndim} dimensions, the first for examples; "
            f"expected {rank}"
        )


def _net_tensors(
    interval: Interval, rounding: RoundingModel, name: str, weight: Any, bias: Any
) -> tuple[Tensor, Tensor | None]:
    """Return weights of the net in the type of the bounds.

    Raises:
        ModelError: If they are computed, or of another type than the net's.
    """
    for value in (weight, bias):
        if not isinstance(value, Tensor | None):
            raise ModelError(
                f"operation {name!r} has {describe(value)} for weights; expected tensors of the net"
            )
        if value is not None:
            rounding.require_type(value, f"operation {name!r}")
    # exact: the bounds' type holds every number of the net's
    kind = interval.center.dtype
    return weight.to(kind), None if bias is None else bias.to(kind)


CONVOLUTION_FUNCTIONS: dict[Any, Callable[..., Interval]] = {
    F.conv1d: _convolution(F.conv1d, 3),
    F.conv2d: _convolution(F.conv2d, 4),
    F.conv_transpose1d: _transposed_convolution(F.conv_transpose1d, 3),
    F.conv_transpose2d: _transposed_convolution(F.conv_transpose2d, 4),
}
"""Convolutions as functions."""

FUNCTIONS: dict[Any, Callable[..., Interval]] = {
    **dict.fromkeys((operator.neg, torch.neg, "neg"), _negate),
    **dict.fromkeys((torch.mean, "mean"), partial(_reduce, mean=True)),
    **dict.fromkeys((torch.sum, "sum"), partial(_reduce, mean=False)),
    F.pad: _pad,
    F.linear: _linear,
    **CONVOLUTION_FUNCTIONS,
}
"""Functions and methods that stand for no layer: ``(interval, rounding, name, settings) -> interval``."""
