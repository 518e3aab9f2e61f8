"""What a rerun of a module is shielded from: the masks of dropout, and what the module keeps of a pass."""

import copy
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

DROPOUT_FUNCTIONS = frozenset(
    {
        F.dropout,
        F.dropout1d,
        F.dropout2d,
        F.dropout3d,
        F.alpha_dropout,
        F.feature_alpha_dropout,
        torch.dropout,
        torch.alpha_dropout,
    }
)


class WithoutDropout(TorchFunctionMode):
    """A mode in which dropout keeps everything: its masks depend on the layout of a batch and say nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in DROPOUT_FUNCTIONS:
            return args[0] if args else kwargs["input"]
        if func is F.scaled_dot_product_attention:
            args, kwargs = (
                (*args[:4], 0.0, *args[5:]) if len(args) > 4 else args,
                {**kwargs, "dropout_p": 0.0} if len(args) < 5 else kwargs,
            )
        return func(*args, **kwargs)


@contextmanager
def restore_module_state(root: nn.Module) -> Iterator[None]:
    """Restore on exit all state that modules hold, counters and lists too."""
    kept: list[tuple[Any, Any]] = []
    for module in root.modules():
        held = vars(module)
        kept += [
            (value, copy.copy(value)) for value in held.values() if type(value) in (dict, set, list, deque)
        ]
        kept.append((held, dict(held)))
    try:
        yield
    finally:
        for container, content in kept:
            container.clear()
            (container.extend if isinstance(container, (list, deque)) else container.update)(content)
