"""The keys that a stored record may have: one that is not known is refused, never dropped."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


def unknown_keys(value: Any, wanted: Any, path: str = "") -> Iterator[str]:
    """Keys and kinds in parsed JSON that a type does not have, each with its place and those that it has.

    Args:
        value: Parsed JSON; what does not have the form of the type at all is left for its decoder to refuse.
        wanted: A data class of JSON's types, data classes, tuples and unions of them.
        path: Where the value stands, ending in a dot.
    """
    inner = get_args(wanted)
    if get_origin(wanted) in (Union, UnionType):
        yield from _of_union(value, inner, path)
    elif get_origin(wanted) is tuple and isinstance(value, list):
        types = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        for place, (one, kind) in enumerate(zip(value, types, strict=False)):
            yield from unknown_keys(one, kind, f"{path}{place}.")
    elif isinstance(value, dict) and (known := _fields(wanted)):
        for key, one in value.items():
            if key in known:
                yield from unknown_keys(one, known[key], f"{path}{key}.")
            else:
                yield f"{path}{key} is no known key; expected {', '.join(known)}"


def _of_union(value: Any, types: tuple[Any, ...], path: str) -> Iterator[str]:
    """Data classes in a union are told apart by their ``kind``, where there are several."""
    if not isinstance(value, dict):
        return
    classes = [one for one in types if _fields(one)]
    kinds = {kind: one for one in classes for kind in get_args(_fields(one).get("kind"))}
    kind = value.get("kind")
    if len(classes) == 1:
        yield from unknown_keys(value, classes[0], path)
    elif isinstance(kind, str) and kind in kinds:
        yield from unknown_keys(value, kinds[kind], path)
    else:
        yield f"{path}kind is {'missing' if kind is None else repr(kind)}; expected {', '.join(kinds)}"


@cache
def _fields(kind: Any) -> dict[str, Any]:
    """Name and type of each field of a data class; nothing for other types."""
    if not is_dataclass(kind):
        return {}
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}
