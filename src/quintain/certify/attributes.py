"""Attributes of a net's modules before and after a run: which ones it set, and how to put them back."""

from collections import deque
from typing import Any

from torch import nn

from quintain.models.modules import all_modules
from quintain.models.value_hash import MODULE_INTERNALS

Container = dict[Any, Any] | list[Any] | set[Any] | deque[Any]
_ENTRIES = ("_parameters", "_buffers", "_modules")


class AttributeSnapshot:
    """The attributes of a net's modules as they are now, with what dicts, lists, sets and deques among them
    hold, also inside each other; of other objects, only which one it is.

    Args:
        net: The net.
    """

    def __init__(self, net: nn.Module) -> None:
        self._net = net
        self._attributes = _by_name(net)
        self._containers: dict[int, tuple[Container, Container]] = {}
        for module in all_modules(net):
            _copy_containers(vars(module), self._containers)

    def changed_names(self) -> list[str]:
        """Return the names of attributes, such as ``head.features``, that were set, deleted or filled."""
        filled = {key for key, (held, before) in self._containers.items() if _differ(held, before)}
        now, before = _by_name(self._net), self._attributes

        def is_unchanged(name: str) -> bool:
            is_same = name in now and name in before and now[name] is before[name]
            return is_same and not holds_filled(before[name])

        def holds_filled(value: Any) -> bool:
            reached: dict[int, tuple[Container, Container]] = {}
            _copy_containers(value, reached)
            return not filled.isdisjoint(reached)

        return [name for name in {**before, **now} if not is_unchanged(name)]

    def restore(self) -> None:
        """Put all attributes back, and what was in their containers."""
        for held, before in self._containers.values():
            if _differ(held, before):
                held.clear()
                if isinstance(held, dict | set):
                    held.update(before)
                else:
                    held.extend(before)


def _by_name(net: nn.Module) -> dict[str, Any]:
    """All attributes, parameters, buffers and layers of a net's modules, by their dotted names."""
    found = {}
    for path, module in net.named_modules():
        own = {key: value for key, value in vars(module).items() if key not in MODULE_INTERNALS}
        for entries in (own, *(vars(module)[key] for key in _ENTRIES)):
            found.update({f"{path}.{key}".lstrip("."): value for key, value in entries.items()})
    return found


def _copy_containers(value: Any, into: dict[int, tuple[Container, Container]]) -> None:
    """Add each container that ``value`` is or holds, with a copy of it, under its identity."""
    if id(value) in into:
        return
    if isinstance(value, dict | list | set | deque):
        into[id(value)] = value, _copy(value)
    if isinstance(value, dict | list | set | deque | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            _copy_containers(item, into)


def _copy(held: Container) -> Container:
    return dict(held) if isinstance(held, dict) else set(held) if isinstance(held, set) else list(held)


def _differ(held: Container, before: Container) -> bool:
    return _identities(held) != _identities(before)


def _identities(held: Container) -> list[Any]:
    if isinstance(held, dict):
        return [(key, id(value)) for key, value in held.items()]
    return sorted(map(id, held)) if isinstance(held, set) else [id(item) for item in held]
