"""Inputs without values: reading one fails, in any thread and by any means; other operations are recorded."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from quintain.certify.interval.observer import operation_texts, require_staying
from quintain.core.errors import ModelError, QuintainError


class Valueless(Tensor):
    """Shape and type of a tensor, on the meta device.

    Tensors that meet it are taken without their values, too.

    Args:
        bare: The same on the meta device.
        operations: Where each operation on it, and on what comes of it, is noted.
        check: Called at each of them.
    """

    bare: Tensor
    operations: list[str]
    check: Callable[[], None]

    @staticmethod
    def __new__(cls, bare: Tensor, operations: list[str], check: Callable[[], None]) -> "Valueless":
        size, strides, start = bare.shape, bare.stride(), bare.storage_offset()
        made = Tensor._make_wrapper_subclass(cls, size, strides, start, dtype=bare.dtype, device=bare.device)
        made.bare, made.operations, made.check = bare, operations, check
        return made

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        require_staying(func)
        return super().__torch_function__(func, types, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        met: dict[int, Valueless] = {}

        def bare(value: Any) -> Any:
            if isinstance(value, Valueless):
                met[id(value.bare)] = value
                return value.bare
            if isinstance(value, Tensor):
                return value.detach().to("meta")
            return torch.device("meta") if isinstance(value, torch.device) else value

        given = tree_map(bare, (args, kwargs or {}))
        first = next(iter(met.values()))
        first.check()
        result = func(*given[0], **given[1])
        first.operations.extend(operation_texts(func, args, kwargs or {}, result))

        def valueless(value: Any) -> Any:
            """What was written into is itself; what is new has no values either."""
            if not isinstance(value, Tensor):
                return value
            return met[id(value)] if id(value) in met else Valueless(value, first.operations, first.check)

        return tree_map(valueless, result)


def operations_without_values(
    run: Callable[[Tensor], Any], x: Tensor, check: Callable[[], None], name: str
) -> list[str]:
    """Return the operations of ``run``, in all threads, on an input without values.

    It has the shape and type of ``x``.

    Args:
        run: What to run.
        x: Stands for the input; it requires a gradient if gradients are enabled.
        check: Called at each operation: what it raises is passed on.
        name: What runs, for messages.

    Raises:
        ModelError: If it fails, as whatever looks at a value does.
    """
    operations: list[str] = []
    try:
        run(Valueless(x.detach().to("meta"), operations, check).requires_grad_(torch.is_grad_enabled()))
    except QuintainError:
        raise
    except Exception as error:  # the user's forward runs on the meta device, and may raise anything
        raise ModelError(
            f"{name} fails on an input without values, on torch's meta device, by which is seen that it "
            f"branches on none ({type(error).__name__}: {error}). Look for what reads a value, such as "
            "x.tolist(), float(x) or if on a tensor, in other threads too; if there is none, an operation "
            "or a custom autograd function has no form for the meta device: write it with torch's own "
            "operations"
        ) from error
    return operations
