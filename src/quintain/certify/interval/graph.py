"""A traced net: its graph of operations, and the propagation of intervals through it."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from quintain.certify.attributes import AttributeSnapshot
from quintain.certify.interval.domain import Interval
from quintain.certify.interval.functions import (
    FUNCTIONAL_LAYERS,
    INPLACE_OPERATORS,
    bound_call,
    evaluate_constant_call,
)
from quintain.certify.interval.layer_bounds import bound_layer, require_unmodified
from quintain.certify.interval.layer_rules import LAYER_RULES
from quintain.certify.interval.observer import Observer, require_inside_bounds
from quintain.certify.interval.reshapes import METHOD_OF_FUNCTION, RESHAPE_METHODS
from quintain.certify.interval.scores import Scores, ends_in_sigmoid, scores_of
from quintain.certify.interval.smooth import SMOOTH_LAYERS
from quintain.certify.interval.tensor_functions import CONVOLUTION_FUNCTIONS, has_type
from quintain.certify.rounding import NO_ROUNDING, RoundingModel
from quintain.core.errors import ModelError, QuintainError
from quintain.models.adapters import adapt, find_logits

VIEW_LAYERS = (nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout2d)
"""Layers whose output may be a view of their input."""

RELU_CALLS: tuple[Any, ...] = (F.relu, torch.relu, "relu", "relu_")
"""Functions and methods that are ReLUs."""

INPLACE_ARGUMENT: dict[Any, int] = {F.relu: 1, F.relu6: 1, F.leaky_relu: 2, F.hardtanh: 3}
"""Functions that may write into their input, and the position of the argument ``inplace``."""


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

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in LAYER_RULES or super().is_leaf_module(m, module_qualified_name)


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
        """Trace a net's operations.

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
            with torch.enable_grad():
                again = _Tracer(check).trace(_Logits(net))
            if str(graph) != str(again):
                raise ModelError(
                    f"the forward of {type(net).__name__} does not do the same each time; look for counters, "
                    "random numbers and branches on torch.is_grad_enabled()"
                    f"{_that_sets(attributes.changed())}"
                )
        except QuintainError:
            raise
        except Exception as error:  # the user's forward runs on placeholders, and may raise anything
            raise ModelError(
                f"the forward of {type(net).__name__} cannot be read as a graph ({error}); expected layers "
                "and plain operations on one input, without branches on values"
                f"{_that_sets(attributes.changed())}"
            ) from error
        finally:
            attributes.restore()  # a traced forward leaves placeholders where it keeps its values
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
            Contradiction: If a value was observed that its bounds exclude.
        """
        value = _as_logits(self._propagate(interval, rounding, observed, activations=activations))
        if self.head is not None:
            require_unmodified(self.head, str(self.logits_node.target).removeprefix("0."), rounding)
            self._require_classes(len(self.head.weight))
            return _margins_through_head(self.head, value, y, rounding)
        self._require_classes(value.center.shape[1])
        if value.center.shape[1] == 1:
            value = Interval(F.pad(value.center, (1, 0)), F.pad(value.radius, (1, 0)))
        # Lower bound of z_y minus upper bound of z_j: the two need not be reached together, so that merging
        # the head gives tighter margins.
        return (value.lower.gather(1, y[:, None]) - value.upper).masked_fill(
            _true_class_mask(y, value.center.shape[1]), 0.0
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
        logits = _as_logits(self._propagate(interval, rounding, observed, through_head=True))
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
        storage_of: dict[fx.Node, fx.Node] = {}
        tensor_of: dict[fx.Node, fx.Node] = {}
        result: Any = None
        for node in self.graph.nodes:
            if node.op == "output" or (self.scores is not None and node is self.scores.node):
                break
            args = fx.node.map_arg(node.args, values.__getitem__)
            kwargs = fx.node.map_arg(node.kwargs, values.__getitem__)
            written = self._track_storage(node, storage_of, tensor_of, values)
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

    def _track_storage(
        self,
        node: fx.Node,
        storage_of: dict[fx.Node, fx.Node],
        tensor_of: dict[fx.Node, fx.Node],
        values: Mapping[fx.Node, Any],
    ) -> list[fx.Node]:
        """Track which node owns the storage of a value, and which nodes are one tensor.

        Returns:
            For a write in place, the nodes that are the tensor that is written into: they have its new value
            from then on.

        Raises:
            ModelError: If another value lies in what is written into, such as a view.
        """
        layer = self.root.get_submodule(str(node.target)) if node.op == "call_module" else None
        source = next(iter(node.all_input_nodes), node)
        overwrites = _overwrites(node, layer)
        written: list[fx.Node] = []
        # a write into a tensor of the net is refused where it is bounded
        if overwrites and isinstance(values[source], Interval):
            written = [other for other in values if storage_of[other] is storage_of[source]]
            if any(tensor_of[other] is not tensor_of[source] for other in written):
                raise ModelError(
                    f"operation {node.name!r} overwrites a value of which a view is read again later; write "
                    "it without inplace=True, += or a method that ends in _"
                )
        shares = (
            overwrites
            or isinstance(layer, VIEW_LAYERS)
            or node.target in RESHAPE_METHODS
            or node.target in {torch.flatten, operator.getitem, F.dropout, F.dropout2d, *METHOD_OF_FUNCTION}
        )
        storage_of[node] = storage_of[source] if shares else node
        tensor_of[node] = tensor_of[source] if overwrites else node
        return written

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
        if _writes(node) and not isinstance(args[0], Interval):
            raise ModelError(
                f"operation {node.name!r} writes into a tensor of the net; write it without += and its like"
            )
        if has_type(Interval, (args, kwargs)):
            return bound_call(target, args, kwargs, rounding, node.name)
        return evaluate_constant_call(target, args, kwargs, rounding, node.name)


def _as_logits(value: Any) -> Interval:
    """Return the interval of logits, or of what the head makes them of, as (B, K).

    Raises:
        ModelError: If it is of another shape, or is none.
    """
    if isinstance(value, Interval) and value.center.ndim == 1:
        value = value.reshape(lambda logit: logit[:, None])  # one logit an example, (B,)
    if not isinstance(value, Interval) or value.center.ndim != 2:
        got = f"{value.center.ndim} dimensions" if isinstance(value, Interval) else type(value).__name__
        raise ModelError(
            f"the net does not return a tensor of logits (B, K); got {got}: interval bounds need logits"
        )
    return value


def _that_sets(attributes: list[str]) -> str:
    return f", or on attributes that the forward itself sets: {', '.join(attributes)}" if attributes else ""


def _overwrites(node: fx.Node, layer: nn.Module | None) -> bool:
    """Tell whether the operation writes into its first operand."""
    if node.target in INPLACE_ARGUMENT:
        place = INPLACE_ARGUMENT[node.target]
        return bool(node.args[place] if len(node.args) > place else node.kwargs.get("inplace", False))
    return _writes(node) or bool(getattr(layer, "inplace", False))


def _writes(node: fx.Node) -> bool:
    """Tell whether the operation is one that always writes into its first operand."""
    if node.op == "call_method":
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    return node.target in INPLACE_OPERATORS


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


def _margins_through_head(head: nn.Linear, interval: Interval, y: Tensor, rounding: RoundingModel) -> Tensor:
    r"""Bound margins through the last linear layer, by its difference of rows.

    This is the elision of the last layer of Gowal et al., 2018, arXiv:1810.12715.

    .. math:: \min_h\, (w_y - w_j) h + (b_y - b_j) = (w_y - w_j) c + (b_y - b_j) - |w_y - w_j|\, r

    less the rounding of each of the two logits.
    """
    weight = head.weight.to(interval.center.dtype)
    bias = weight.new_zeros(len(weight)) if head.bias is None else head.bias.to(weight.dtype)
    if len(weight) == 1:
        weight, bias = F.pad(weight, (0, 0, 1, 0)), F.pad(bias, (1, 0))
    true = weight[y]

    def margin_of(logits: Tensor) -> Tensor:
        return logits.gather(1, y[:, None]) - logits

    # One class j at a time: (B, F) memory instead of (B, K, F).
    def weighted_sums(power: int, values: Tensor) -> Tensor:
        return torch.stack([((true - row).abs() ** power * values).sum(1) for row in weight], 1)

    # the box: exact difference of the two rows at the center, less its largest change over the radius
    bound = margin_of(F.linear(interval.center, weight, bias)) - weighted_sums(1, interval.radius)
    if interval.ellipsoid is not None:
        # the ellipsoid: the dual norm of the difference, clamped since the root has no finite slope at 0
        ball = interval.ellipsoid
        dual_norm = weighted_sums(2, ball.semi_axes.square()).clamp(min=torch.finfo(weight.dtype).tiny).sqrt()
        bound = torch.maximum(
            bound,
            margin_of(F.linear(ball.center, weight, bias)) - dual_norm - weighted_sums(1, ball.error_radius),
        )
    if rounding.inexact:
        # the model rounds each logit for itself: the true one's error and the other's
        magnitude = interval.magnitude
        sizes = F.linear(magnitude, weight.abs(), bias.abs())
        slack = rounding.error_bound(weight.shape[1] + 1, sizes, magnitude.amax(1, keepdim=True))
        bound = bound - slack - slack.gather(1, y[:, None])
    return bound.masked_fill(_true_class_mask(y, len(weight)), 0.0)


def _true_class_mask(y: Tensor, num_classes: int) -> Tensor:
    """Return the mask (B, K) of the true class."""
    return F.one_hot(y, num_classes).bool()
