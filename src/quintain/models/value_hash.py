"""What values, functions, classes, objects and modules add to the hash of a model that holds them."""

import hashlib
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import cache, cached_property, partial, partialmethod, singledispatchmethod
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

import numpy as np
import torch
from torch import Tensor, nn

from quintain.models.hash_scope import is_installed, is_library, is_read
from quintain.models.source import global_names_in, names_in, source_of

MODULE_INTERNALS = frozenset(vars(nn.Module())) | {"training", "_compiled_call_impl"}

Known = dict[int, tuple[object, str]]
"""Values that were met, by their ``id``, and what stands for them; holding them keeps each ``id`` unique."""

PLAIN = (str, bytes, bytearray, int, float, complex, range, Decimal, Fraction)
"""Types whose own ``repr`` tells all of a value."""

TORCH_PLAIN = (torch.dtype, torch.layout, torch.memory_format, np.dtype)

CONTAINERS = (Mapping, list, tuple, set, frozenset, deque)

CACHES = (WeakKeyDictionary, WeakValueDictionary, WeakSet)
"""Containers whose items come and go while a program runs."""

ROUTINES = (
    FunctionType,
    MethodType,
    type(cache(len)),
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodWrapperType,
    WrapperDescriptorType,
)
"""Types of functions and methods, Python's and C's; other descriptors are objects like any other."""

MADE_BY_PYTHON = ("__module__", "__qualname__", "__doc__", "__firstlineno__")
"""Constants of a class that are not its program's."""

MADE_OF: dict[type, tuple[str, ...]] = {
    slice: ("start", "stop", "step"),
    partial: ("func", "args", "keywords"),
    partialmethod: ("func", "args", "keywords"),
    property: ("fget", "fset"),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    cached_property: ("func",),
    singledispatchmethod: ("func", "dispatcher"),
    re.Pattern: ("pattern", "flags"),
}
"""Types of the standard library, and the attributes that tell all of a value."""

COMPILER = "torch._dynamo"
"""What ``torch.compile`` puts around modules and functions holds them, and its own state."""

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def digest_of(parts: Iterable[str | bytes]) -> str:
    """Compute SHA-256 over texts and bytes, each with its length."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode(errors="surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


def value_parts(value: object, known: Known) -> Iterator[str | bytes]:
    """Yield what a value adds to the hash of what holds it, the same in each process and at each address.

    - Numbers, texts, tensors, arrays, enumerations: type and value. Not so ``torch.device``, since a net is
      the same one on each device.
    - Containers: type and items, however deep.
    - Modules: weights, program, attributes and mode.
    - Functions: source or bytecode, defaults, closure, attributes, what they wrap and are bound to, and the
      globals of their own module, or of one that it imports, that they name, unless these are installed
      packages.
    - Classes: of PyTorch, NumPy and the standard library the full name, of others their methods' source,
      descriptors, constants and metaclass; of enumerations the members.
    - Objects: class and attributes; an object of C or Cython without attributes, as pickle would store it.

    Not seen: globals whose names the program makes up; what an object of C does not give to pickle (a ufunc
    of ``np.frompyfunc``); PyTorch's hooks of all modules; environment variables; the inside of files, locks,
    generators of random numbers and other objects of the standard library; what is read from files or the
    network when the model runs.
    """
    if value is None or value is Ellipsis:
        yield repr(value)
    elif type(value) in PLAIN or isinstance(value, bool):
        yield f"{type(value).__name__} {value!r}"
    elif isinstance(value, TORCH_PLAIN):
        yield repr(value)
    elif isinstance(value, torch.device):
        yield "device"
    elif isinstance(value, ModuleType):
        yield f"module {value.__name__}"
    elif isinstance(value, np.generic):
        yield f"{value.dtype} {value.shape}"
        yield value.tobytes()
    else:
        if id(value) not in known:
            known[id(value)] = value, "itself"  # where it holds itself
            known[id(value)] = value, digest_of(_container_parts(value, known))
        yield known[id(value)][1]


def tensor_parts(tensor: Tensor) -> Iterator[str | bytes]:
    """Yield a tensor's dtype, shape and bytes, on whatever device and in whatever layout."""
    yield f"{tensor.dtype} {tuple(tensor.shape)}"
    tensor = tensor.detach().cpu()
    if tensor.is_quantized:
        per_channel = tensor.qscheme() in (torch.per_channel_affine, torch.per_channel_affine_float_qparams)
        yield str(tensor.qscheme())
        if per_channel:
            yield str(tensor.q_per_channel_axis())
            yield from tensor_parts(tensor.q_per_channel_scales())
            yield from tensor_parts(tensor.q_per_channel_zero_points())
        else:
            yield f"{tensor.q_scale()!r} {tensor.q_zero_point()}"
        tensor = tensor.int_repr()
    if tensor.layout is not torch.strided:
        yield str(tensor.layout)
        tensor = tensor.to_dense()
    tensor = tensor.resolve_conj().resolve_neg().contiguous()
    yield tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


def module_parts(module: nn.Module, known: Known) -> Iterator[str | bytes]:
    """Yield a module's own program: class, ``extra_repr``, hooks and attributes; no weights, no children."""
    yield f"{type(module).__qualname__}({ADDRESS.sub('', module.extra_repr())})"
    yield from value_parts(type(module), known)
    for kind in ("_forward_pre_hooks", "_forward_hooks"):
        for hook in getattr(module, kind).values():
            yield kind
            yield from value_parts(hook, known)
    if isinstance(module, torch.jit.ScriptModule):
        yield from _scripted_parts(module, known)
        return
    if isinstance(code := getattr(module, "code", None), str):  # torch.fx carries its program as text
        yield code
    # Old-style weight_norm, spectral_norm and pruning make an attribute anew before each forward.
    made = {
        getattr(hook, "name", getattr(hook, "_tensor_name", None))
        for hook in module._forward_pre_hooks.values()
        if type(hook).__module__.startswith("torch.nn.utils.")
    }
    if type(module).__module__.startswith(COMPILER):
        return  # the module inside it is registered
    made |= {
        name
        for base in type(module).__mro__
        for name, member in vars(base).items()
        if isinstance(member, cached_property)
    }
    for key in sorted(vars(module).keys() - MODULE_INTERNALS - made):
        yield f"attribute {key}"
        yield from value_parts(vars(module)[key], known)


def _scripted_parts(module: torch.jit.ScriptModule, known: Known) -> Iterator[str | bytes]:
    """Yield a traced or scripted module's methods, their constants, and the attributes that they read."""
    inner: Any = module._c
    texts = []
    for name in sorted(inner._method_names()):
        text, constants = inner._get_method(name).code_with_constants
        texts.append(text)
        yield text
        yield from value_parts(dict(sorted(constants.items())), known)
    for name in sorted(set(re.findall(r"\.(\w+)", " ".join(texts)))):
        if inner.hasattr(name):
            yield f"attribute {name}"
            yield from value_parts(inner.getattr(name), known)


def _container_parts(value: Any, known: Known) -> Iterator[str | bytes]:
    """Yield the parts of a value that may contain other values."""
    if isinstance(value, Tensor):
        yield from tensor_parts(value)
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape}"
        if value.dtype.hasobject:
            for item in value.flat:
                yield from value_parts(item, known)
        else:
            yield value.tobytes()
    elif isinstance(value, nn.Module):
        yield from _unregistered_parts(value, known)
    elif isinstance(value, type):
        yield from _class(value, known)
    elif isinstance(value, ROUTINES):
        yield from _function(value, known)
    elif isinstance(value, Enum):
        yield from value_parts([type(value), value.name, value.value], known)
    else:
        yield from value_parts(type(value), known)
        yield from _object(value, known)


def _unregistered_parts(module: nn.Module, known: Known) -> Iterator[str | bytes]:
    """Yield all of a module that is not registered; ``eval()`` does not reach it, so its mode counts."""
    yield f"training {module.training}"
    for held in (module._parameters, module._buffers, module._modules):
        for name, item in held.items():
            yield name
            yield from value_parts(item, known)
    yield from module_parts(module, known)


def _object(value: Any, known: Known) -> Iterator[str | bytes]:
    """Yield what an object holds, beside its class."""
    for plain in PLAIN:
        if isinstance(value, plain):
            yield plain.__repr__(value)
    if isinstance(value, CACHES):
        return
    if isinstance(value, CONTAINERS):
        yield from _items(value, known)
    elif names := next((names for kind, names in MADE_OF.items() if isinstance(value, kind)), ()):
        yield from value_parts([getattr(value, name) for name in names], known)
    elif is_read(type(value)):
        yield from _state(value, known)
    else:  # a ufunc has a name, a function of torch.jit its code
        for name in ("__name__", "code"):
            text = getattr(value, name, None)
            yield text if isinstance(text, str) else ""
    if isinstance(value, (*PLAIN, *CONTAINERS)) and is_read(type(value)):
        yield from _state(value, known)


def _items(value: Any, known: Known) -> Iterator[str | bytes]:
    """Yield the hash of each item: ``[[0], [1]]`` is not ``[[0, 1]]``."""
    items = [part for pair in value.items() for part in pair] if isinstance(value, Mapping) else list(value)
    hashes = [digest_of(value_parts(item, known)) for item in items]
    # the order of a set follows the process, and says nothing
    yield from sorted(hashes) if isinstance(value, set | frozenset) else hashes


def _state(value: object, known: Known) -> Iterator[str | bytes]:
    """Yield an object's attributes and slots; of one without, what pickle would store."""
    state = object.__getstate__(value)
    if state is not None:
        for attributes in state if isinstance(state, tuple) else (state,):
            yield from value_parts(_sort_by_name(attributes or {}), known)
    elif not isinstance(value, (*PLAIN, *CONTAINERS)):
        try:
            stored = value.__reduce_ex__(4)
        except Exception:  # it has no state that can be read
            return
        yield from value_parts(stored if isinstance(stored, str) else list(stored[:3]), known)


def _sort_by_name(attributes: dict[str, object]) -> dict[str, object]:
    return dict(sorted(attributes.items(), key=lambda pair: str(pair[0])))


def _function(value: Any, known: Known) -> Iterator[str | bytes]:
    """Yield a function's program, and all that it was made with."""
    if isinstance(value, MethodType):
        yield "method"
        yield from value_parts(value.__func__, known)
        yield from value_parts(value.__self__, known)
    elif isinstance(value, FunctionType):
        module = value.__globals__.get("__name__")  # functools.wraps copies __module__ of what it wraps
        library = is_library(module)
        yield f"{module}.{value.__qualname__}" if library else source_of(value)
        if (module or "").startswith(COMPILER):
            yield from value_parts(getattr(value, "_torchdynamo_orig_callable", None), known)
            return
        if module == "functools" and isinstance(registry := vars(value).get("registry"), Mapping):
            yield from value_parts(
                dict(registry), known
            )  # of singledispatch; the rest caches what was called
            return
        yield from value_parts([value.__defaults__, value.__kwdefaults__], known)
        for cell in value.__closure__ or ():
            try:
                yield from value_parts(cell.cell_contents, known)
            except ValueError:
                yield "empty"
        yield from value_parts(_sort_by_name(vars(value)), known)
        if not library and not is_installed(value.__globals__.get("__file__")):
            used, read = set(names_in(value.__code__)), global_names_in(value.__code__)
            for name in sorted(used & value.__globals__.keys()):
                # an attribute may be called as a global is, of which only a module may be meant there
                if name not in read and not isinstance(value.__globals__[name], ModuleType):
                    continue
                yield f"global {name}"
                yield from value_parts(value.__globals__[name], known)
                yield from _used_of_module(value.__globals__[name], used, known)
    else:
        yield f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', type(value).__name__)}"
        # functools.cache wraps, methods of C are bound
        yield from value_parts([getattr(value, name, None) for name in ("__wrapped__", "__self__")], known)


def _used_of_module(module: object, used: set[str], known: Known) -> Iterator[str | bytes]:
    """Yield what a function may use of a module beside its own: ``helper.act`` where it names ``act``."""
    if isinstance(module, ModuleType) and not is_library(module.__name__):
        if is_installed(getattr(module, "__file__", None)):
            return
        for name in sorted(used & vars(module).keys()):
            if not name.startswith("__"):
                yield f"of module {name}"
                yield from value_parts(vars(module)[name], known)


def _class(klass: type, known: Known) -> Iterator[str | bytes]:
    """Yield what a class and those that it inherits from add to the program: functions and constants."""
    if not is_library(type(klass).__module__):
        yield from value_parts(type(klass), known)
    for base in klass.__mro__:
        if is_library(base.__module__):
            yield f"{base.__module__}.{base.__qualname__}"
            continue
        yield base.__qualname__
        members = dict(vars(base))
        if issubclass(base, Enum):
            # the enumeration itself adds members, and maps of them, in forms that follow Python's version
            members = {name: member for name, member in members.items() if not isinstance(member, base)}
            yield from value_parts({name: one.value for name, one in base.__members__.items()}, known)
        for name, member in sorted(members.items()):
            if _is_of_the_program(name, member, is_enum=issubclass(base, Enum)):
                yield f"member {name}"
                yield from value_parts(member, known)


def _is_of_the_program(name: str, member: object, *, is_enum: bool) -> bool:
    """Whether a member of a class tells what its objects compute."""
    if isinstance(member, (*ROUTINES, property, staticmethod, classmethod)):
        return True
    if name.startswith("__"):
        return type(member) in PLAIN and name not in MADE_BY_PYTHON
    return not (is_enum and name.startswith("_"))
