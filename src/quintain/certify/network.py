"""Bounds through a whole network: its graph of operations, walked once with spans in place of values."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from quintain.certify.arithmetic import EXACT, Arithmetic
from quintain.certify.functions import IN_PLACE, RESHAPES, bound_function, constant_function
from quintain.certify.observed import Observer, require_inside_bounds
from quintain.certify.rules import LAYERS, bound_layer, require_plain
from quintain.certify.span import Span
from quintain.core.errors import ModelError, QuintainError
from quintain.models.adapters import LOGIT_KEYS, adapt

SHARING = (nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout2d)
"""Layers whose output may share the memory of their input."""

IN_PLACE_AT: dict[Any, int] = {F.relu: 1, F.leaky_relu: 2}
"""Functions that may write into their input, and which argument says so; whatever Python takes for true does."""


class _Value(fx.Proxy):
    """A traced value, of which ``+=`` and its like are recorded as in-place: they write into its memory."""

    def __len__(self) -> int:
        raise ModelError(
            "the forward asks for a len(), such as len(x), the batch size, which is another number in the next call; expected an answer "
            "that does not depend on it: for a view, x.shape[0] as its first size, or x.flatten(1)"
        )

    def __iadd__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})

    def __isub__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.isub, (self, other), {})

    def __imul__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.imul, (self, other), {})

    def __itruediv__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.itruediv, (self, other), {})


class _Tracer(fx.Tracer):
    """Traces every layer that has a rule as one operation, and looks into all other modules.

    Args:
        check: Called at every operation, since ``forward`` may itself have changed global settings.
    """

    proxy_buffer_attributes = True

    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__()
        self.check = check

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        self.check()
        return super().create_node(*args, **kwargs)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Value(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in LAYERS or super().is_leaf_module(m, module_qualified_name)


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A net and the operations that its ``forward`` is made of.

    Args:
        root: Holds the net; weights are read at each call, so that bounds follow them through training.
        graph: The operations in order.
        answer: The one that gives the logits.
        head: The last linear layer, if ``answer`` is one: its rows are merged into margins.
    """

    root: nn.Module
    graph: fx.Graph
    answer: fx.Node
    head: nn.Linear | None

    @staticmethod
    def of(net: nn.Module, check: Callable[[], None] = lambda: None) -> "Network":
        """Read a net's operations.

        Args:
            net: The net.
            check: Called before each of its operations: what it raises is passed on.

        Raises:
            ModelError: If its ``forward`` cannot be read, because what it does depends on values, or does
                other things each time.
        """
        root = nn.Sequential(net)
        try:
            with torch.no_grad():
                graph = _Tracer(check).trace(root)
            with torch.enable_grad():
                again = _Tracer(check).trace(nn.Sequential(net))
        except QuintainError:
            raise
        except Exception as error:
            raise ModelError(
                f"the forward of {type(net).__name__} cannot be read as a graph ({error}); expected layers and plain operations on one "
                "input, without branches on values"
            ) from error
        if str(graph) != str(again):
            raise ModelError(
                f"the forward of {type(net).__name__} does not do the same each time; look for counters, random numbers and branches on "
                "torch.is_grad_enabled()"
            )
        answer = _answer(next(node for node in graph.nodes if node.op == "output").args[0])
        last = root.get_submodule(str(answer.target)) if answer.op == "call_module" and len(answer.users) == 1 else None
        return Network(root, graph, answer, last if type(last) is nn.Linear else None)

    def margins(self, span: Span, y: Tensor, arithmetic: Arithmetic = EXACT, *, seen: Mapping[fx.Node, Tensor] | None = None) -> Tensor:
        r"""Lower bounds on the true logit minus each logit, (B, K), with 0 at the true class.

        A net with one logit z stands for two, (0, z).

        Args:
            span: What the input may be, in the type in which bounds are computed.
            y: True classes (B,).
            arithmetic: How the net that runs rounds; exact for training.
            seen: What operations returned at points of ``span``, as ``observe`` gives it, to be held against their bounds.

        Raises:
            ModelError: For what has no bound rule, by name.
            Contradiction: If an operation was seen to return what its bounds exclude.
        """
        value = self._walk(span, arithmetic, seen)
        if not isinstance(value, Span) or value.center.ndim != 2:
            got = f"{value.center.ndim} dimensions" if isinstance(value, Span) else type(value).__name__
            raise ModelError(f"the net does not return a tensor of logits (B, K); got {got}: interval bounds need logits")
        if self.head is not None:
            require_plain(self.head, str(self.answer.target).removeprefix("0."), arithmetic)
            return _merged(self.head, value, y, arithmetic)
        if value.center.shape[1] == 1:
            value = Span(F.pad(value.center, (1, 0)), F.pad(value.radius, (1, 0)))
        return (value.low.gather(1, y[:, None]) - value.high).masked_fill(_is_true(y, value.center.shape[1]), 0.0)

    def replay(self, x: Tensor) -> Tensor:
        """The logits (B, K) for ``x`` (B, *S) by the operations that were read: the net's, if read right."""
        return adapt(self.run(x), len(x))

    def run(self, x: Tensor) -> Any:
        """What the operations that were read return for ``x`` (B, *S)."""
        return fx.Interpreter(self.root, graph=self.graph).run(x.clone())

    def observe(self, x: Tensor) -> Mapping[fx.Node, Tensor]:
        """What each operation returns for ``x`` (B, *S)."""
        observer = Observer(self.root, self.graph)
        observer.run(x.clone())
        return observer.seen

    def _walk(self, span: Span, arithmetic: Arithmetic, seen: Mapping[fx.Node, Tensor] | None = None) -> Any:
        """Bounds of ``answer`` (of its input if the head is merged); unused nodes run too: they may write."""
        values: dict[fx.Node, Any] = {}
        left = {node: len(node.users) for node in self.graph.nodes}
        memory: dict[fx.Node, fx.Node] = {}
        result: Any = None
        for node in self.graph.nodes:
            if node.op == "output":
                break
            args = fx.node.map_arg(node.args, values.__getitem__)
            kwargs = fx.node.map_arg(node.kwargs, values.__getitem__)
            self._place(node, memory, values, left)
            merged = node is self.answer and self.head is not None
            if merged:
                result = _only(node, args, kwargs)
                if not seen:
                    continue  # margins are bounded from the head's input; its own output is only held against what was seen
            values[node] = span if node.op == "placeholder" else self._call(node, args, kwargs, arithmetic)
            if seen and node in seen and isinstance(values[node], Span):
                require_inside_bounds(node, values[node], seen[node])
            if node is self.answer and not merged:
                result = values[node]
            for source in node.all_input_nodes:
                left[source] -= 1
                if not left[source]:
                    del values[source]
        return result

    def _place(self, node: fx.Node, memory: dict[fx.Node, fx.Node], values: Mapping[fx.Node, Any], left: Mapping[fx.Node, int]) -> None:
        """Note whose memory the node's value may share; refuse to overwrite one that is read again."""
        layer = self.root.get_submodule(str(node.target)) if node.op == "call_module" else None
        source = next(iter(node.all_input_nodes), node)
        overwrites = _overwrites(node, layer)
        if overwrites and (left[source] > 1 or any(other is not source and memory[other] is memory[source] for other in values)):
            raise ModelError(f"operation {node.name!r} overwrites a value that is read again later; write it without inplace=True or +=")
        shares = overwrites or isinstance(layer, SHARING) or node.target in RESHAPES or node.target in {torch.flatten, F.dropout}
        memory[node] = memory[source] if shares else node

    def _call(self, node: fx.Node, args: Sequence[Any], kwargs: Mapping[str, Any], arithmetic: Arithmetic) -> Any:
        target = node.target
        if node.op == "get_attr":
            if str(target).startswith("_tensor_constant"):
                raise ModelError("the forward makes a tensor of its own, which may be another one in the next call; keep it in a buffer")
            value: Any = reduce(getattr, str(target).split("."), cast(Any, self.root))
            return value.clone() if isinstance(value, Tensor) else value
        if node.op == "call_module":
            layer, span = self.root.get_submodule(str(target)), _only(node, args, kwargs)
            return bound_layer(layer, span, arithmetic, str(target).removeprefix("0."))
        writes = target in IN_PLACE or (node.op == "call_method" and str(target).endswith("_"))
        if writes and not isinstance(args[0], Span):
            raise ModelError(f"operation {node.name!r} writes into a tensor of the net; write it without += and its like")
        if any(isinstance(value, Span) for value in (*args, *kwargs.values())):
            return bound_function(target, args, kwargs, arithmetic, node.name)
        return constant_function(target, args, kwargs, arithmetic, node.name)


def _overwrites(node: fx.Node, layer: nn.Module | None) -> bool:
    """Whether the operation writes into its first operand."""
    if node.target in IN_PLACE_AT:
        place = IN_PLACE_AT[node.target]
        return bool(node.args[place] if len(node.args) > place else node.kwargs.get("inplace", False))
    return node.target in IN_PLACE or bool(getattr(layer, "inplace", False))


def _only(node: fx.Node, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Span:
    """The one value that a layer is called with.

    Raises:
        ModelError: If it is called with more, or with a constant.
    """
    given = (*args, *kwargs.values())
    if len(given) != 1 or not isinstance(given[0], Span):
        kinds = ", ".join(type(value).__name__ for value in given)
        raise ModelError(f"layer {str(node.target).removeprefix('0.')!r} is called with ({kinds}); expected one computed value")
    return given[0]


def _answer(output: Any) -> fx.Node:
    """The node of the logits in what a net returns, by the order of preference of ``adapt``."""
    if isinstance(output, fx.Node):
        return output
    if isinstance(output, Mapping):
        named = [output[key] for key in LOGIT_KEYS if key in output]
        values = [value for value in output.values() if isinstance(value, fx.Node)]
        if named or len(values) == 1:
            return _answer((named or values)[0])
    elif isinstance(output, tuple | list) and output:
        return _answer(output[0])
    raise ModelError(f"the net returns {type(output).__name__}; interval bounds need a tensor, a dict or a tuple of tensors")


def _merged(head: nn.Linear, span: Span, y: Tensor, arithmetic: Arithmetic) -> Tensor:
    r"""Margins through the last linear layer: bounding the difference keeps what two logits share.

    .. math:: \min_h\, (w_y - w_j) h + (b_y - b_j) = (w_y - w_j) c + (b_y - b_j) - |w_y - w_j|\, r

    less the rounding of each of the two logits.
    """
    weight = head.weight.to(span.center.dtype)
    bias = weight.new_zeros(len(weight)) if head.bias is None else head.bias.to(weight.dtype)
    if len(weight) == 1:
        weight, bias = F.pad(weight, (0, 0, 1, 0)), F.pad(bias, (1, 0))
    true = weight[y]

    def lead(logits: Tensor) -> Tensor:
        return logits.gather(1, y[:, None]) - logits

    def sums(power: int, values: Tensor) -> Tensor:
        return torch.stack([((true - row).abs() ** power * values).sum(1) for row in weight], 1)

    # the box: exact difference of the two rows at the center, less its largest change over the radius
    bound = lead(F.linear(span.center, weight, bias)) - sums(1, span.radius)
    if span.ball is not None:
        # the ellipsoid: the dual norm of the difference, clamped since the root has no finite slope at 0
        ball = span.ball
        reach = sums(2, ball.axes.square()).clamp(min=torch.finfo(weight.dtype).tiny).sqrt()
        bound = torch.maximum(bound, lead(F.linear(ball.center, weight, bias)) - reach - sums(1, ball.slack))
    if arithmetic.rounds:
        # the model rounds each logit for itself: the true one's error and the other's
        magnitude = span.magnitude
        sizes = F.linear(magnitude, weight.abs(), bias.abs())
        slack = arithmetic.slack(weight.shape[1] + 1, sizes, magnitude.amax(1, keepdim=True))
        bound = bound - slack - slack.gather(1, y[:, None])
    return bound.masked_fill(_is_true(y, len(weight)), 0.0)


def _is_true(y: Tensor, classes: int) -> Tensor:
    """Where (B, K) a class is the true one; ``one_hot`` gives integers of 0 and 1."""
    return F.one_hot(y, classes).bool()
