"""Tensors that report what is done with them.

They are the outputs of a training pass and what is computed from them.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

WHOLE_BATCH, SELECTED_EXAMPLES, ONE_EXAMPLE, REDUCED = (
    "all of the batch",
    "some of the batch",
    "one example",
    "a sum or mean over the batch",
)
"""What the first dimension of a tensor computed from the outputs stands for; WHOLE_BATCH where not known."""


class Watcher:
    """The callbacks of watched tensors; copies and pickles of these have none.

    Args:
        on_call: Called with a function of torch, its arguments, and its result (before it runs if it is
            ``backward``); returns what the first dimension of the result stands for.
        backward_context: The context in which ``backward`` runs.
    """

    def __init__(
        self,
        on_call: Callable[[Any, tuple[Any, ...], Mapping[str, Any], Any], str],
        backward_context: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.on_call, self.backward_context = on_call, backward_context

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return type(None), ()


class WatchedTensor(Tensor):
    """A tensor that reports each function of torch that is called on it, and ``backward()``."""

    watcher: Watcher | None = None
    first_dim = WHOLE_BATCH

    @property
    def as_plain_tensor(self) -> Tensor:
        """The same data as an ordinary tensor, which is what copies, files and printed lines hold."""
        with torch._C.DisableTorchFunctionSubclass():
            return self.as_subclass(Tensor)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return copy.deepcopy(self.as_plain_tensor, memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.as_plain_tensor.__reduce_ex__(protocol)

    def __format__(self, spec: str) -> str:
        return format(self.as_plain_tensor, spec)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return repr(self.as_plain_tensor)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.compiler.is_compiling():
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        arguments = args[0] if args and isinstance(args[0], (tuple, list)) else (*args, *kwargs.values())
        watcher = next(
            (x.watcher for x in arguments if isinstance(x, WatchedTensor) and x.watcher is not None), None
        )
        with torch._C.DisableTorchFunctionSubclass():
            if watcher is None or torch._C._current_graph_task_id() != -1:
                return func(*args, **kwargs)
            if func is Tensor.backward:
                with watcher.backward_context():
                    watcher.on_call(func, args, kwargs, None)
                    return func(*args, **kwargs)
            if func is Tensor.__iter__:
                return iter(
                    mark_watched(args[0].unbind(), watcher, watcher.on_call(func, args, kwargs, None))
                )
            result = func(*args, **kwargs)
            return mark_watched(result, watcher, watcher.on_call(func, args, kwargs, result))


def mark_watched(result: Any, watcher: Watcher, first_dim: str = WHOLE_BATCH) -> Any:
    """The result with its differentiable tensors watched, and those of functions with a custom gradient."""
    if isinstance(result, Tensor):
        in_custom_backward = not torch.is_grad_enabled() and result.is_floating_point()
        if type(result) not in (Tensor, WatchedTensor) or not (
            in_custom_backward or (result.requires_grad and not result.is_leaf)
        ):
            return result
        watched = result if isinstance(result, WatchedTensor) else result.as_subclass(WatchedTensor)
        watched.watcher, watched.first_dim = watcher, first_dim
        return watched
    if isinstance(result, (tuple, list)) and any(isinstance(part, Tensor) for part in result):
        return type(result)([mark_watched(part, watcher, first_dim) for part in result])
    return result


def first_dim_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """What the first dimension of the arguments stands for; of several the one closest to a batch."""
    kinds = {x.first_dim for x in flatten_nested((*args, *kwargs.values())) if isinstance(x, WatchedTensor)}
    return next((kind for kind in (SELECTED_EXAMPLES, WHOLE_BATCH, REDUCED) if kind in kinds), ONE_EXAMPLE)


def flatten_nested(parts: Any) -> Iterator[Any]:
    """The items of nested tuples and lists."""
    for part in parts:
        if isinstance(part, (tuple, list)):
            yield from flatten_nested(part)
        else:
            yield part
