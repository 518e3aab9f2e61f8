"""The graph of the operations in a net's ``forward``, which is run on placeholders."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from quintain.certify.attributes import AttributeSnapshot
from quintain.certify.interval.layer_rules import LAYER_RULES
from quintain.core.errors import ModelError, QuintainError
from quintain.models.adapters import find_logits


class _InplaceProxy(fx.Proxy):
    """A traced value whose in-place operators, such as ``+=``, are recorded as such.

    They write into its storage.
    """

    def __len__(self) -> int:
        raise ModelError(
            "the forward asks for a len(), such as len(x), the batch size, which is another number in the "
            "next call; expected an answer that does not depend on it: for a view, x.shape[0] as its first "
            "size, or x.flatten(1)"
        )

    def __iadd__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})

    def __isub__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.isub, (self, other), {})

    def __imul__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.imul, (self, other), {})

    def __itruediv__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.itruediv, (self, other), {})


class _Logits(nn.Sequential):
    """A net, as its only part, of whose output the logits alone are traced.

    What it makes of them, such as a dataclass with ``.logits``, is made while it is traced.
    """

    def forward(self, x: Any) -> Any:
        return find_logits(self[0](x), (Tensor, fx.Proxy))


class _Tracer(fx.Tracer):
    """A tracer that takes each layer with a rule as one operation, and traces into all other modules.

    Args:
        check: Called at every operation, since ``forward`` may itself have changed global settings.
    """

    # buffers are nodes of the graph, too, so that what is computed with them, or written into, is seen
    proxy_buffer_attributes = True

    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__()
        self.check = check

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        self.check()
        return super().create_node(*args, **kwargs)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _InplaceProxy(node, self)

    def iter(self, obj: fx.Proxy) -> Any:
        raise ModelError(
            f"the forward goes through the parts of {obj.node.name!r}, such as by tuple(x.shape), whose "
            "number is not known while it is read; expected x.shape[0] for the first size of a view, the "
            "other value's shape as it is, x.reshape(other.shape), or x.flatten(1)"
        )

    # by its exact type: a subclass may compute something else, and is traced into
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in LAYER_RULES or super().is_leaf_module(m, module_qualified_name)


def trace_operations(net: nn.Module, check: Callable[[], None]) -> tuple[nn.Module, fx.Graph]:
    """Return a module that holds a net as its only part, and the graph of the operations in its ``forward``.

    Args:
        net: The net.
        check: Called before each of its operations: what it raises is passed on.

    Raises:
        ModelError: If its ``forward`` cannot be traced, because it depends on values, or does other
            things each time.
    """
    root = _Logits(net)
    attributes = AttributeSnapshot(net)
    try:
        with torch.no_grad():
            graph = _Tracer(check).trace(root)
        # a graph that differs the second time, or with gradients on, is not what every call runs
        with torch.enable_grad():
            again = _Tracer(check).trace(_Logits(net))
        if str(graph) != str(again):
            raise ModelError(
                f"the forward of {type(net).__name__} does not do the same each time; look for counters, "
                "random numbers and branches on torch.is_grad_enabled()"
                f"{_that_sets(attributes.changed_names())}"
            )
    except QuintainError:
        raise
    except Exception as error:  # the user's forward runs on placeholders, and may raise anything
        raise ModelError(
            f"the forward of {type(net).__name__} cannot be read as a graph ({error}); expected layers "
            "and plain operations on one input, without branches on values"
            f"{_that_sets(attributes.changed_names())}"
        ) from error
    finally:
        attributes.restore()  # a traced forward leaves placeholders where it keeps its values
    return root, graph


def _that_sets(attributes: list[str]) -> str:
    return f", or on attributes that the forward itself sets: {', '.join(attributes)}" if attributes else ""
