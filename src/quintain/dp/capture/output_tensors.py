"""The tensors in what a module returns, however they are nested."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor


def iter_tensors(output: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples, dicts, data classes, and attributes of an object with logits."""
    if isinstance(output, Tensor):
        yield output
    elif is_dataclass(output) and not isinstance(output, (type, dict)):
        for name in (part.name for part in fields(output)):
            yield from iter_tensors(getattr(output, name, None))
    elif isinstance(output, (list, tuple)):
        for part in output:
            yield from iter_tensors(part)
    elif isinstance(output, dict):
        for part in output.values():
            yield from iter_tensors(part)
    elif has_logits(output):
        for part in vars(output).values():
            yield from iter_tensors(part)


def has_logits(output: Any) -> bool:
    """Whether it is an object of another kind whose attributes are a module's outputs, logits among them."""
    return "logits" in getattr(output, "__dict__", ())
