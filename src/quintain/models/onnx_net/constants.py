"""Operators of ONNX on constants: they are done once, when the file is read."""

from collections.abc import Callable
from typing import Any

import numpy as np

from quintain.models.onnx_net.node import Array, Node


def fold(node: Node) -> Array:
    """Return what an operator on constants gives.

    Args:
        node: The operator, one of ``FOLDED``.

    Raises:
        ModelError: If its constants do not fit.
    """
    given = [value for value in node.inputs if value is not None]
    try:
        return FOLDED[node.kind](node.settings, *given)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise node.refuse(
            f"of constants is not done: {error}", "sizes that fit, and a type of numbers of at most 64 bits"
        ) from error


def _gathered(settings: dict[str, Any], data: Array, index: Array) -> Array:
    return np.take(data, index, axis=int(settings.get("axis", 0)))


def _unsqueezed(settings: dict[str, Any], data: Array, axes: Array | None = None) -> Array:
    places = settings["axes"] if axes is None else axes.reshape(-1).tolist()
    return np.expand_dims(data, tuple(places))


def _squeezed(settings: dict[str, Any], data: Array, axes: Array | None = None) -> Array:
    places = settings.get("axes") if axes is None else axes.reshape(-1).tolist()
    return data.squeeze(None if places is None else tuple(places))


def _cast(settings: dict[str, Any], data: Array) -> Array:
    return data.astype(CAST_TYPES[settings["to"]])


def _joined(settings: dict[str, Any], *parts: Array) -> Array:
    return np.concatenate(parts, axis=int(settings["axis"]))


CAST_TYPES = {
    **{1: np.float32, 10: np.float16, 11: np.float64},
    **{2: np.uint8, 3: np.int8, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_},
}
"""Types that ONNX numbers."""

FOLDED: dict[str, Callable[..., Array]] = {
    "Gather": _gathered,
    "Unsqueeze": _unsqueezed,
    "Concat": _joined,
    "Squeeze": _squeezed,
    "Cast": _cast,
    "Identity": lambda _, data: data,
    "Transpose": lambda settings, data: data.transpose(settings.get("perm")),
    "Reshape": lambda _, data, sizes: data.reshape(sizes.tolist()),
}
"""Operators on constants that move numbers or convert their type: they are done once, as all runtimes do."""
