"""A traced net: its graph of operations, and the propagation of intervals through it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from quintain.certify.interval.domain import Interval
from quintain.certify.interval.functions import FUNCTIONAL_LAYERS, bound_call, evaluate_constant_call
from quintain.certify.interval.head_margins import as_logits, margins_through_head, true_class_mask
from quintain.certify.interval.inplace import Storage, writes_in_place
from quintain.certify.interval.layer_bounds import bound_layer, require_unmodified
from quintain.certify.interval.observer import Observer, require_inside_bounds
from quintain.certify.interval.scores import Scores, ends_in_sigmoid, scores_of
from quintain.certify.interval.smooth import SMOOTH_LAYERS
from quintain.certify.interval.tensor_functions import CONVOLUTION_FUNCTIONS, has_type
from quintain.certify.interval.tracing import trace_operations
from quintain.certify.rounding import NO_ROUNDING, RoundingModel
from quintain.core.errors import ModelError
from quintain.models.adapters import adapt

RELU_CALLS: tuple[Any, ...] = (F.relu, torch.relu, "relu", "relu_")
"""Functions and methods that are ReLUs."""


@dataclass(frozen=True, slots=True, eq=False)
class TracedNetwork:
    """A net, and the graph of the operations in its ``forward``.

    Args:
        root: Holds the net; weights are read at each call, so that bounds follow them through training.
        graph: The operations in order.
        logits_node: The operation that gives the logits.
        head: The last linear layer, if ``logits_node`` is one: its rows are merged into margins.
        scores: What the net makes of its logits at last and returns in their place, if that is softmax or its
            logarithm: ``score_margins`` goes on from margins of logits.
    """

    root: nn.Module
    graph: fx.Graph
    logits_node: fx.Node
    head: nn.Linear | None
    scores: Scores | None = None

    @staticmethod
    def trace(net: nn.Module, check: Callable[[], None] = lambda: None) -> "TracedNetwork":
        """Trace a net's operations, as ``trace_operations`` does, and tell its head and its scores apart.

        Raises:
            ModelError: As of ``trace_operations``.
        """
        root, graph = trace_operations(net, check)
        answer = cast(fx.Node, next(node for node in graph.nodes if node.op == "output").args[0])
        scores = scores_of(answer, root)
        if scores is not None:
            answer = scores.node.all_input_nodes[0]
        last = (
            root.get_submodule(str(answer.target))
            if answer.op == "call_module" and len(answer.users) == 1
            else None
        )
        return TracedNetwork(root, graph, answer, last if type(last) is nn.Linear else None, scores)

    def margin_bounds(
        self,
        interval: Interval,
        y: Tensor,
        rounding: RoundingModel = NO_ROUNDING,
        *,
        observed: Mapping[fx.Node, Tensor] | None = None,
        activations: list[Interval] | None = None,
    ) -> Tensor:
        r"""Compute lower bounds on the true logit minus each logit, (B, K), with 0 at the true class.

        A net with one logit z stands for two, (0, z).

        Args:
            interval: The inputs, in the type in which bounds are computed.
            y: True classes (B,).
            rounding: How the net that runs rounds; exact for training.
            observed: Values of operations at points of ``interval``, as ``observe`` gives them, to be checked
                against their bounds.
            activations: Gets the interval of what each ReLU is given, in order.

        Raises:
            ModelError: For what has no bound rule, by name.
            ContradictionError: If a value was observed that its bounds exclude.
        """
        value = as_logits(self._propagate(interval, rounding, observed, activations=activations))
        if self.head is not None:
            require_unmodified(self.head, str(self.logits_node.target).removeprefix("0."), rounding)
            self._require_classes(len(self.head.weight))
            return margins_through_head(self.head, value, y, rounding)
        self._require_classes(value.center.shape[1])
        if value.center.shape[1] == 1:
            value = Interval(F.pad(value.center, (1, 0)), F.pad(value.radius, (1, 0)))
        # Lower bound of z_y minus upper bound of z_j: the two need not be reached together, so that merging
        # the head gives tighter margins.
        return (value.lower.gather(1, y[:, None]) - value.upper).masked_fill(
            true_class_mask(y, value.center.shape[1]), 0.0
        )

    def logit_bounds(
        self,
        interval: Interval,
        rounding: RoundingModel = NO_ROUNDING,
        *,
        observed: Mapping[fx.Node, Tensor] | None = None,
    ) -> Interval:
        """Compute the interval of the logits (B, K) as the net returns them; one logit is (B, 1).

        Args:
            interval, rounding, observed: As of ``margin_bounds``.

        Raises:
            ModelError: For what has no bound rule, by name.
            ContradictionError: If a value was observed that its bounds exclude.
        """
        logits = as_logits(self._propagate(interval, rounding, observed, through_head=True))
        self._require_classes(logits.center.shape[1])
        return logits

    def _require_classes(self, count: int) -> None:
        """Refuse one output that says the same of every input: softmax is 1, and sigmoid above 0.

        Raises:
            ModelError: If that is so.
        """
        if count == 1 and ends_in_sigmoid(self.logits_node, self.root):
            raise ModelError(
                "the net ends in sigmoid of one logit, which is above 0, the answer of class 1, for every "
                "input; expected the one logit as it is, without the sigmoid"
            )
        if self.scores is not None and count == 1:
            raise ModelError(
                f"the net ends in {self.scores.kind} of one logit, which is the same for every input; "
                "expected one logit for each class, or the one logit as it is"
            )

    @property
    def convolves(self) -> bool:
        """Whether it calls convolutions as functions, beside those that are layers."""
        return any(node.target in CONVOLUTION_FUNCTIONS for node in self.graph.nodes)

    @property
    def rests_on_library(self) -> bool:
        """Whether it uses functions whose rounding no standard bounds."""
        layers = (self.root.get_submodule(str(n.target)) for n in self.graph.nodes if n.op == "call_module")
        return (
            self.scores is not None
            or any(type(layer) in SMOOTH_LAYERS for layer in layers)
            or any(FUNCTIONAL_LAYERS.get(node.target) in SMOOTH_LAYERS for node in self.graph.nodes)
        )

    def score_margins(self, bounds: Tensor, y: Tensor, rounding: RoundingModel) -> Tensor:
        """Return lower bounds (B, K) on margins of what the net returns, from those of its logits."""
        if self.scores is None:
            return bounds
        node = self.scores.node
        if node.op == "call_module":
            require_unmodified(self.root.get_submodule(str(node.target)), node.name, rounding)
        return self.scores.margins(bounds, y, rounding)

    def replay(self, x: Tensor) -> Tensor:
        """Compute logits (B, K) for ``x`` (B, *S) by the traced operations.

        They are the net's, if they were traced right.
        """
        return adapt(self.run(x), len(x)).clone()

    def run(self, x: Tensor) -> Any:
        """Run the traced operations on ``x`` (B, *S), and return what they return."""
        return fx.Interpreter(self.root, graph=self.graph).run(x.clone())

    def observe(self, x: Tensor) -> Mapping[fx.Node, Tensor]:
        """Return the value of each operation for ``x`` (B, *S)."""
        observer = Observer(self.root, self.graph)
        observer.run(x.clone())
        return observer.observed

    def _propagate(
        self,
        interval: Interval,
        rounding: RoundingModel,
        observed: Mapping[fx.Node, Tensor] | None = None,
        *,
        through_head: bool = False,
        activations: list[Interval] | None = None,
    ) -> Any:
        """Propagate intervals through the graph, and return that of the logits.

        If the head is merged, and not gone ``through_head``, return the interval of the head's input.

        Nodes whose value is never used are executed as well, because they may write in place into a value
        that is.
        """
        values: dict[fx.Node, Any] = {}
        uses_left = {node: len(node.users) for node in self.graph.nodes}
        storage = Storage(self.root)
        result: Any = None
        for node in self.graph.nodes:
            if node.op == "output" or (self.scores is not None and node is self.scores.node):
                break
            args = fx.node.map_arg(node.args, values.__getitem__)
            kwargs = fx.node.map_arg(node.kwargs, values.__getitem__)
            written = storage.track(node, values)
            if activations is not None and self._is_relu(node):
                activations.append(args[0])
            merged = node is self.logits_node and self.head is not None and not through_head
            if merged:
                result = _only(node, args, kwargs)
                if not observed:
                    # margins are bounded from the head's input; its own output is only held against what
                    # was seen
                    continue
            values[node] = (
                interval if node.op == "placeholder" else self._bound_node(node, args, kwargs, rounding)
            )
            values.update(dict.fromkeys(written, values[node]))
            if observed and node in observed and isinstance(values[node], Interval):
                require_inside_bounds(node, values[node], observed[node])
            for source in node.all_input_nodes:
                uses_left[source] -= 1
                if not uses_left[source]:
                    del values[source]
        # a merged head is read by nothing else; other logits may have been written into since
        return values[self.logits_node] if self.head is None or through_head else result

    def _is_relu(self, node: fx.Node) -> bool:
        """Tell whether an operation is a ReLU, as a layer, a function or a method."""
        if node.op == "call_module":
            return isinstance(self.root.get_submodule(str(node.target)), nn.ReLU)
        return node.target in RELU_CALLS

    def _bound_node(
        self, node: fx.Node, args: Sequence[Any], kwargs: Mapping[str, Any], rounding: RoundingModel
    ) -> Any:
        target = node.target
        if node.op == "get_attr":
            if str(target).startswith("_tensor_constant"):
                raise ModelError(
                    "the forward makes a tensor of its own, which may be another one in the next call; keep "
                    "it in a buffer"
                )
            value: Any = reduce(getattr, str(target).split("."), cast(Any, self.root))
            return value.clone() if isinstance(value, Tensor) else value
        if node.op == "call_module":
            layer, interval = self.root.get_submodule(str(target)), _only(node, args, kwargs)
            return bound_layer(layer, interval, rounding, str(target).removeprefix("0."))
        if writes_in_place(node) and not isinstance(args[0], Interval):
            raise ModelError(
                f"operation {node.name!r} writes into a tensor of the net; write it without += and its like"
            )
        if has_type(Interval, (args, kwargs)):
            return bound_call(target, args, kwargs, rounding, node.name)
        return evaluate_constant_call(target, args, kwargs, rounding, node.name)


def _only(node: fx.Node, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Interval:
    """Return the one interval with which a layer is called.

    Raises:
        ModelError: If it is called with more, or with a constant.
    """
    given = (*args, *kwargs.values())
    if len(given) != 1 or not isinstance(given[0], Interval):
        kinds = ", ".join(type(value).__name__ for value in given)
        raise ModelError(
            f"layer {str(node.target).removeprefix('0.')!r} is called with ({kinds}); expected one computed "
            "value"
        )
    return given[0]
