"""The hash of a model: of its weights and of the program that runs over them."""

import ast
import hashlib
import inspect
import textwrap
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, partial
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quintain.models.adapters import ADAPTER_VERSION

HASH_VERSION = "quintain-model-2"
MODULE_INTERNALS = frozenset(vars(nn.Module())) | {"training"}

PLAIN = (str, bytes, bytearray, int, float, complex, range, slice, Enum, torch.dtype, torch.device)
"""Types whose ``repr`` tells all of a value."""

CONTAINERS = (Mapping, list, tuple, set, frozenset, deque, partial)


def fingerprint(net: nn.Module, *, include_modes: bool = False) -> str:
    """Compute SHA-256 over a net's parameters, buffers and inference program.

    Parameters and buffers count with name, dtype, shape and bytes, on whatever device. The program is each
    module's name in the net, class name and ``extra_repr``; for modules from outside PyTorch also the source
    of their methods (comments, docstrings and layout do not count) and their plain attributes: numbers,
    texts, arrays, enumerations, and containers and dataclasses of them, however deep; for all, their forward
    hooks. Functions in other modules that a ``forward`` calls
    are not seen: put what differs into an attribute or a buffer.

    Args:
        net: The net; only read.
        include_modes: Count which modules are in training mode, for nets that are run so.
    """
    return _digest(_parts(net, include_modes))


def _digest(parts: Iterable[str | bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode()
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


def _parts(net: nn.Module, include_modes: bool) -> Iterator[str | bytes]:
    yield HASH_VERSION
    yield ADAPTER_VERSION
    for kind, tensors in (
        ("parameter", net.named_parameters(remove_duplicate=False)),
        ("buffer", net.named_buffers(remove_duplicate=False)),
    ):
        for name, tensor in sorted(tensors, key=lambda pair: pair[0]):
            yield f"{kind} {name}"
            yield from _tensor(tensor)
    for name, module in net.named_modules(remove_duplicate=False):
        yield f"module {name} {type(module).__qualname__}({module.extra_repr()})"
        if include_modes:
            yield f"training {module.training}"
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
            yield f"hook {source_of(hook)}"
        # Own classes anywhere in the MRO: a subclass of nn.Linear with another forward is another program.
        for klass in type(module).__mro__:
            if klass.__module__.partition(".")[0] not in ("torch", "builtins", "typing", "abc"):
                yield from _class(klass)
        code = getattr(module, "code", None)
        if isinstance(code, str):  # traced and scripted modules carry their program as text
            yield code
        if not type(module).__module__.startswith("torch."):
            for key in sorted(set(vars(module)) - MODULE_INTERNALS):
                yield f"attribute {key}"
                yield from _value(vars(module)[key], {})


def _tensor(tensor: Tensor) -> Iterator[str | bytes]:
    yield f"{tensor.dtype} {tuple(tensor.shape)}"
    yield tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _value(value: Any, known: dict[int, tuple[Any, str]]) -> Iterator[str | bytes]:
    """Yield what an attribute adds to the hash; of an object that is not plain, only the type's name.

    Args:
        value: The attribute, or a part of it.
        known: The containers that were met, and their hashes, by their ``id``.
    """
    if isinstance(value, Tensor):
        yield from _tensor(value)
    elif value is None or isinstance(value, PLAIN):
        yield repr(value)
    elif isinstance(value, np.ndarray) and value.dtype.hasobject:
        yield f"{value.dtype} {value.shape}"
        for item in value.flat:
            yield from _value(item, known)
    elif isinstance(value, np.ndarray | np.generic):
        yield f"{value.dtype} {value.shape}"
        yield value.tobytes()
    elif isinstance(value, CONTAINERS) or (is_dataclass(value) and not isinstance(value, type)):
        if id(value) not in known:
            known[id(value)] = value, "itself"  # where it holds itself
            known[id(value)] = value, _container(value, known)
        yield known[id(value)][1]
    elif inspect.isroutine(value):
        yield source_of(value)
    else:
        yield type(value).__qualname__


def _container(value: Any, known: dict[int, tuple[Any, str]]) -> str:
    """Hash a container: its type, and the hash of each item: ``[[0], [1]]`` is not ``[[0, 1]]``."""
    if isinstance(value, Mapping):
        items = [part for pair in value.items() for part in pair]
    elif isinstance(value, partial):
        items = [value.func, *value.args, *(part for pair in value.keywords.items() for part in pair)]
    elif is_dataclass(value):
        items = [getattr(value, field.name, None) for field in fields(value)]
    else:
        items = list(value)
    hashes = [_digest(_value(item, known)) for item in items]
    # the order of a set follows the process, and says nothing
    ordered = sorted(hashes) if isinstance(value, set | frozenset) else hashes
    return _digest([type(value).__qualname__, *ordered])


@cache
def _class(klass: type) -> tuple[str | bytes, ...]:
    """Return what a class adds to the program: its functions, and its plain constants."""
    parts: list[str | bytes] = [klass.__qualname__]
    for name, member in sorted(vars(klass).items()):
        if isinstance(member, property):
            parts += [source_of(part) for part in (member.fget, member.fset) if part is not None]
        elif isinstance(member, staticmethod | classmethod):
            parts.append(source_of(member.__func__))
        elif inspect.isroutine(member):
            parts.append(source_of(member))
        elif not name.startswith("__"):
            parts += [f"constant {name}", *_value(member, {})]
    return tuple(parts)


def source_of(what: Callable[..., Any]) -> str:
    """Return a function's name, and its source without comments, docstrings and layout; else its bytecode."""
    name = getattr(what, "__qualname__", type(what).__qualname__)
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(what)))
    except (OSError, TypeError, SyntaxError):
        code = getattr(what, "__code__", None)
        return f"{name} {_bytecode(code)}" if isinstance(code, CodeType) else name
    for node in ast.walk(tree):  # docstrings go, so that editing them keeps the hash
        if (
            isinstance(node, ast.FunctionDef)
            and len(node.body) > 1
            and ast.get_docstring(node, clean=False) is not None
        ):
            del node.body[0]
    return f"{name}\n{ast.unparse(tree)}"


def _bytecode(code: CodeType) -> str:
    constants = (
        _bytecode(constant) if isinstance(constant, CodeType) else repr(constant)
        for constant in code.co_consts
    )
    return f"{code.co_code.hex()} {code.co_names} {' '.join(constants)}"
