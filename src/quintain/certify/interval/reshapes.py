"""Interval bounds of other shapes of the same values, in which examples stay apart for every batch size."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from quintain.certify.interval.domain import BatchSize, Interval
from quintain.certify.interval.tensor_functions import has_type
from quintain.core.errors import ModelError

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


def reshape(
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


def takes_every_example(index: Any) -> bool:
    """Tell whether an index, such as ``[:, 0]``, takes a part of each example."""
    return (
        isinstance(index, tuple)
        and index[0] == slice(None)
        and all(
            one is None or one is Ellipsis or (isinstance(one, int | slice) and not isinstance(one, bool))
            for one in index[1:]
        )
    )


def _require_same_batch(result: Interval, interval: Interval, name: str) -> Interval:
    if not result.center.ndim or len(result.center) != len(interval.center):
        raise ModelError(
            f"operation {name!r} turns a batch of {len(interval.center)} into {len(result.center)}; examples "
            "must stay apart"
        )
    return result
