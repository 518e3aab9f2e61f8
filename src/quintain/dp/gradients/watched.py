"""Tensors that tell what is done with them: the outputs of a training pass, and what is made of them until ``backward()``."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

BATCH, CHOSEN, ONE, SUMMED = "all of the batch", "some of the batch", "one example", "a sum or mean over the batch"
"""What the first dimension of something made of the outputs is; all that came of it otherwise counts as the first of these."""


class Watcher:
    """Who is told of what is done with watched tensors; copies and pickles of these have none.

    Args:
        tell: Called with a function of torch, its arguments, and its result; before it runs if that is ``backward``. Says what the first
            dimension of the result is.
        around: What ``backward`` runs in.
    """

    def __init__(
        self, tell: Callable[[Any, tuple[Any, ...], Mapping[str, Any], Any], str], around: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self.tell, self.around = tell, around

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return type(None), ()


class Watched(Tensor):
    """Outputs of a training pass, and what is made of them: losses are looked at, and ``backward()`` is seen."""

    watcher: Watcher | None = None
    rows = BATCH

    @property
    def plain(self) -> Tensor:
        """The same as an ordinary tensor, which is what copies, files and printed lines hold."""
        with torch._C.DisableTorchFunctionSubclass():
            return self.as_subclass(Tensor)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return copy.deepcopy(self.plain, memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.plain.__reduce_ex__(protocol)

    def __format__(self, spec: str) -> str:
        return format(self.plain, spec)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return repr(self.plain)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.compiler.is_compiling():
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        found = args[0] if args and isinstance(args[0], (tuple, list)) else (*args, *kwargs.values())
        watcher = next((x.watcher for x in found if isinstance(x, Watched) and x.watcher is not None), None)
        with torch._C.DisableTorchFunctionSubclass():
            if watcher is None or torch._C._current_graph_task_id() != -1:
                return func(*args, **kwargs)
            if func is Tensor.backward:
                with watcher.around():
                    watcher.tell(func, args, kwargs, None)
                    return func(*args, **kwargs)
            if func is Tensor.__iter__:
                return iter(marked(args[0].unbind(), watcher, watcher.tell(func, args, kwargs, None)))
            result = func(*args, **kwargs)
            return marked(result, watcher, watcher.tell(func, args, kwargs, result))


def marked(result: Any, watcher: Watcher, rows: str = BATCH) -> Any:
    """Tensors that can be differentiated, or that a function with a gradient of its own makes, as watched ones."""
    if isinstance(result, Tensor):
        inside = not torch.is_grad_enabled() and result.is_floating_point()
        if type(result) not in (Tensor, Watched) or not (inside or (result.requires_grad and not result.is_leaf)):
            return result
        kept = result if isinstance(result, Watched) else result.as_subclass(Watched)
        kept.watcher, kept.rows = watcher, rows
        return kept
    if isinstance(result, (tuple, list)) and any(isinstance(part, Tensor) for part in result):
        return type(result)([marked(part, watcher, rows) for part in result])
    return result


def rows_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """What the first dimension of the arguments is: of several, the one that is most of a batch."""
    found = {x.rows for x in flat((*args, *kwargs.values())) if isinstance(x, Watched)}
    return next((rows for rows in (CHOSEN, BATCH, SUMMED) if rows in found), ONE)


def flat(parts: Any) -> Iterator[Any]:
    """What is in tuples and lists, and in those in them."""
    for part in parts:
        if isinstance(part, (tuple, list)):
            yield from flat(part)
        else:
            yield part
