"""Writes in place: which operations make them, and which values lie in what is written into."""

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from quintain.certify.interval.domain import Interval
from quintain.certify.interval.reshapes import METHOD_OF_FUNCTION, RESHAPE_METHODS
from quintain.core.errors import ModelError

INPLACE_FUNCTIONS: frozenset[Any] = frozenset(
    {operator.iadd, operator.isub, operator.imul, operator.itruediv, torch.relu_, F.hardtanh_}
)
"""Functions that write into their first operand."""

VIEW_LAYERS = (nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout2d)
"""Layers whose output may be a view of their input."""

VIEW_CALLS: frozenset[Any] = frozenset(
    {torch.flatten, operator.getitem, F.dropout, F.dropout2d, *METHOD_OF_FUNCTION, *RESHAPE_METHODS}
)
"""Functions and methods of which the same is true."""

INPLACE_ARGUMENT: dict[Any, int] = {F.relu: 1, F.relu6: 1, F.leaky_relu: 2, F.hardtanh: 3}
"""Functions that may write into their input, and the position of the argument ``inplace``."""


def _overwrites(node: fx.Node, layer: nn.Module | None) -> bool:
    """Tell whether the operation writes into its first operand."""
    if node.target in INPLACE_ARGUMENT:
        place = INPLACE_ARGUMENT[node.target]
        return bool(node.args[place] if len(node.args) > place else node.kwargs.get("inplace", False))
    return writes_in_place(node) or bool(getattr(layer, "inplace", False))


def writes_in_place(node: fx.Node) -> bool:
    """Tell whether the operation is one that always writes into its first operand."""
    if node.op == "call_method":
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    return node.target in INPLACE_FUNCTIONS


class Storage:
    """Tracks, operation by operation, which values share storage, and which are one tensor.

    Args:
        root: Holds the layers of the graph.
    """

    def __init__(self, root: nn.Module) -> None:
        self._root = root
        self._storage_of: dict[fx.Node, fx.Node] = {}
        self._tensor_of: dict[fx.Node, fx.Node] = {}

    def track(self, node: fx.Node, values: Mapping[fx.Node, Any]) -> list[fx.Node]:
        """Track the next operation of a graph.

        Args:
            node: The operation.
            values: What those before it gave, as far as it is read again.

        Returns:
            For a write in place, the nodes that are the tensor that is written into: they have its new value
            from then on.

        Raises:
            ModelError: If another value lies in what is written into, such as a view.
        """
        layer = self._root.get_submodule(str(node.target)) if node.op == "call_module" else None
        source = next(iter(node.all_input_nodes), node)
        overwrites = _overwrites(node, layer)
        written: list[fx.Node] = []
        # a write into a tensor of the net is refused where it is bounded
        if overwrites and isinstance(values[source], Interval):
            written = [other for other in values if self._storage_of[other] is self._storage_of[source]]
            if any(self._tensor_of[other] is not self._tensor_of[source] for other in written):
                raise ModelError(
                    f"operation {node.name!r} overwrites a value of which a view is read again later; write "
                    "it without inplace=True, += or a method that ends in _"
                )
        shares = overwrites or isinstance(layer, VIEW_LAYERS) or node.target in VIEW_CALLS
        self._storage_of[node] = self._storage_of[source] if shares else node
        self._tensor_of[node] = self._tensor_of[source] if overwrites else node
        return written
