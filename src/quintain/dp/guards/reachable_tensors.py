"""Finds the tensors and arrays in attributes of modules, through lists, dicts, objects and functions."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MAX_SMALL_TENSOR = 4096
"""Tensors of at most so many numbers are compared at every pass, larger ones in a thorough check."""

MAX_DEPTH = 4
"""Depth to which objects within objects are searched where a pass is checked in full."""

MAX_SMALL_CONTAINER = 64
"""Lists and dicts of at most so many entries are searched at every pass."""

Place = tuple[str, str]
"""A module's name and the name in it."""

MODULE_ATTRIBUTES = frozenset(vars(nn.Module()))
OPAQUE = (type, ModuleType, FunctionType, MethodType, BuiltinFunctionType, torch.Generator)
PLAIN = frozenset({int, float, bool, str, bytes, type(None), torch.dtype, torch.device, torch.Size})
COMPRESSED = (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


def reachable_tensors(modules: Sequence[tuple[str, nn.Module]], *, thorough: bool) -> dict[Place, Tensor]:
    """Return all tensors of the modules that can be compared, each once.

    Parameters and buffers come first, so that those that stand in lists as well keep their names.

    Args:
        modules: The modules and their names.
        thorough: Whether long lists and the attributes of objects are searched, too.
    """
    found: dict[Place, Tensor] = {}
    seen: set[int] = set()
    for prefix, module in modules:
        for held in (module._parameters, module._buffers):
            for key, x in held.items():
                if x is None or id(x) in seen:
                    continue
                seen.add(id(x))
                if x.layout == torch.strided and _readable(x):
                    found[prefix, key] = x
                else:
                    found.update(((prefix, inner), part) for inner, part in _comparable_parts(key, x))
    reached = {id(module) for _, module in modules}
    for prefix, module in modules:
        for key in vars(module).keys() - MODULE_ATTRIBUTES:
            value = vars(module)[key]
            if _holds_no_tensor(value):
                continue
            for inner, x in _tensors_in(key, value, reached, thorough=thorough, objects=MAX_DEPTH * thorough):
                if id(x) not in seen:
                    seen.add(id(x))
                    found[prefix, inner] = x
    return found


def _tensors_in(
    name: str, value: Any, reached: set[int], *, thorough: bool, objects: int
) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in an attribute: itself, and those in lists, dicts and functions.

    A thorough search also yields those in the attributes of objects.
    """
    if isinstance(value, Tensor):
        yield from _comparable_parts(name, value)
        return
    if isinstance(value, np.ndarray) and value.dtype != object:
        yield from _tensors_in_array(name, value)
        return
    if _holds_no_tensor(value) or id(value) in reached:
        return
    inside: list[tuple[Any, Any]]
    if isinstance(value, (list, tuple, deque, set, frozenset)):
        inside = list(enumerate(value)) if thorough or len(value) <= MAX_SMALL_CONTAINER else []
    elif isinstance(value, np.ndarray):
        inside = list(enumerate(value.flat)) if thorough or value.size <= MAX_SMALL_CONTAINER else []
    elif isinstance(value, Mapping):
        inside = list(value.items()) if thorough or len(value) <= MAX_SMALL_CONTAINER else []
    elif isinstance(value, (partial, FunctionType)):
        inside, objects = list(enumerate(_bound_values(value))), 0
    elif objects and not isinstance(value, OPAQUE):
        slots = [
            key
            for kind in type(value).__mro__
            for key in _slot_names(getattr(kind, "__slots__", ()))
            if hasattr(value, key)
        ]
        inside = [*getattr(value, "__dict__", {}).items(), *((key, getattr(value, key)) for key in slots)]
        objects -= 1
    else:
        return
    reached.add(id(value))
    for key, part in inside:
        yield from _tensors_in(f"{name}.{key}", part, reached, thorough=thorough, objects=objects)


def _tensors_in_array(name: str, value: np.ndarray[Any, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield an array as a tensor that shares its memory if possible; nothing for a large read-only one."""
    if not value.flags.writeable:
        if value.size > MAX_SMALL_TENSOR:
            return
        value = value.copy()
    try:
        yield name, torch.from_numpy(value)
    except (TypeError, ValueError):
        # records, texts, times, other widths or orders of bytes
        if not value.dtype.hasobject:
            yield name, torch.from_numpy(np.ascontiguousarray(value).reshape(-1).view(np.uint8))


def _bound_values(function: "partial[Any] | FunctionType") -> Iterator[Any]:
    """Yield the values that a function holds: bound and default arguments, and its closure."""
    if isinstance(function, partial):
        yield from (function.func, *function.args, *function.keywords.values())
        return
    yield from function.__defaults__ or ()
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            # the cell is still empty
            continue


def _holds_no_tensor(value: Any) -> bool:
    """Return whether a value, such as a setting of a layer, cannot hold a tensor."""
    kind = type(value)
    return kind in PLAIN or (kind is tuple and PLAIN.issuperset(map(type, value)))


def _slot_names(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _comparable_parts(name: str, x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield a tensor that can be compared, or the tensors that a sparse one consists of."""
    if x.layout == torch.sparse_coo:
        yield f"{name}.indices", x._indices()
        yield f"{name}.values", x._values()
    elif x.layout in COMPRESSED:
        yield f"{name}.values", x.values()
    elif _readable(x):
        yield name, x


def _readable(x: Tensor) -> bool:
    return x.layout == torch.strided and x.device.type != "meta" and not nn.parameter.is_lazy(x)
