"""Records of what a net does at a few inputs, to check the traced graph and the bounds."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from quintain.certify.interval.domain import Interval
from quintain.core.errors import ContradictionError, ModelError

VIEW_OPERATIONS = {"aten.alias.default", "aten.detach.default", "aten.view.default"}
"""Operations that return their input, which a custom autograd function adds where a result is its own
input.
"""

EXITS = {
    *("numpy", "__array__", "tolist", "__repr__", "__format__", "__reduce_ex__"),
    *("data_ptr", "untyped_storage", "storage", "_typed_storage", "__dlpack__", "_to_dlpack", "to_dlpack"),
    *("apply_", "map_", "map2_"),
}
"""Functions that take values out of torch, after which operations on them are not seen."""


class _Recording(TorchDispatchMode):
    """Records each operation on tensors, with its settings and with shapes and types instead of values.

    Args:
        check: Called at every operation, since what runs may itself have changed global settings.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__()
        self.check = check
        self.operations: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.check()
        result = func(*args, **(kwargs or {}))
        self.operations += operation_texts(func, args, kwargs or {}, result)
        return result


class _StaysInTorch(TorchFunctionMode):
    """Refuses functions that take values out of torch."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        require_staying(func)
        return func(*args, **(kwargs or {}))


def require_staying(func: Any) -> None:
    """Refuse a function that takes values out of torch.

    Raises:
        ModelError: By its name.
    """
    name = getattr(func, "__name__", "")
    if name in EXITS:
        raise ModelError(
            f"the forward takes values out of torch with {name}, so that what it does with them is not seen; "
            "leave it out"
        )


def operation_texts(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> list[str]:
    """Describe an operation, with its settings, shapes and types; nothing for one that changes nothing."""
    if str(func) in VIEW_OPERATIONS and result.shape == args[0].shape:
        return []
    return [f"{func}{fx.node.map_aggregate((*args, *kwargs.items()), _describe)}"]


def operations_of(
    run: Callable[[], Tensor], check: Callable[[], None] = lambda: None
) -> tuple[Tensor, list[str]]:
    """Return what ``run`` returns, and the operations on tensors that it is made of.

    Reading a value, as a branch on it does, is one.

    Args:
        run: What to run.
        check: Called at each of its operations: what it raises is passed on.

    Raises:
        ModelError: If it takes values out of torch.
    """
    with _StaysInTorch(), _Recording(check) as recording:
        result = run()
    return result, recording.operations


class _Plain(str):
    """A text that is shown without quotes."""

    __repr__ = str.__str__


def _describe(value: Any) -> Any:
    return _Plain(f"{value.dtype}{list(value.shape)}" if isinstance(value, Tensor) else repr(value))


class Observer(fx.Interpreter):
    """Runs a graph, and keeps a copy of each operation's value before another one can write into it."""

    def __init__(self, root: torch.nn.Module, graph: fx.Graph) -> None:
        super().__init__(root, graph=graph)
        self.observed: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        """The operation's result, of which a copy is kept."""
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.observed[n] = result.double()
            self.observed[n] = self.observed[n].clone() if self.observed[n] is result else self.observed[n]
        return result


def require_inside_bounds(node: fx.Node, interval: Interval, observed: Tensor) -> None:
    """Raise if an operation returned a value that its bounds exclude.

    Args:
        node: The operation.
        interval: Its bounds (B, *S).
        observed: What it returned for several points of each input in turn, (P * B, *S).

    Raises:
        ContradictionError: If there is such a value, or none at all (NaN) where bounds are finite; bounds
            that are no numbers exclude none.
    """
    values = observed.to(interval.center.device).reshape(-1, *interval.center.shape)
    outside = (
        (values < interval.lower)
        | (values > interval.upper)
        | (values.isnan() & (interval.lower.isfinite() & interval.upper.isfinite()))
    )
    if bool(outside.any()):
        name = str(node.target).removeprefix("0.") if node.op == "call_module" else node.name
        raise ContradictionError(
            f"operation {name!r} returns {float(values[outside][0]):g}, which its interval bounds exclude: "
            "the bounds are not of the function that runs. Look for methods of torch that something has "
            "replaced, and for what writes into its input"
        )


def require_margins_kept(bounds: Tensor, logits: Tensor, y: Tensor) -> None:
    """Raise if the model has a smaller margin at some point than was proven.

    Args:
        bounds: Lower bounds on the true logit minus each, (B, K).
        logits: What the model answered at several points of each input in turn, (P * B, K).
        y: True classes (B,).

    Raises:
        ContradictionError: If there is such an answer, or none at all (NaN) where the bound is finite.
    """
    values = logits.double().to(bounds.device).reshape(-1, *bounds.shape)
    true = y[:, None].expand(len(values), -1, 1)
    margins = values.gather(2, true) - values
    broken = ((margins < bounds) | (margins.isnan() & bounds.isfinite())).scatter(2, true, value=False)
    if bool(broken.any()):
        _point, row, other = broken.nonzero()[0].tolist()
        raise ContradictionError(
            f"interval bounds prove a margin of at least {float(bounds[row, other]):g} against class {other} "
            f"all over the ball of example {row}, but the model answers a point of it with "
            f"{float(margins[broken][0]):g}: the bounds are not of the function that runs. Look for methods "
            "of torch that something has replaced"
        )
