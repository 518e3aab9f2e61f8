"""The hash of a model: of its weights and of the program that runs over them."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

from torch import Tensor, nn

from quintain.core.errors import ModelError
from quintain.models.adapters import ADAPTER_VERSION
from quintain.models.value_hash import Known, digest_of, module_parts, tensor_parts, value_parts

HASH_VERSION = "quintain-model-3"


def fingerprint(net: nn.Module, *, include_modes: bool = False) -> str:
    """Compute SHA-256 over a net's parameters, buffers and inference program.

    Parameters and buffers count with name, dtype, shape and bytes, on whatever device. The program is each
    module's name in the net, class, ``extra_repr``, forward hooks and attributes, PyTorch's own modules
    included; for modules from outside PyTorch also the source of their methods (comments, docstrings and
    layout do not count). What ``value_parts`` says of values holds for attributes and hooks:
    a net whose hook appends to a list has another hash after each call.

    Args:
        net: The net; only read.
        include_modes: Count which modules are in training mode, for nets that are run so. Modules that are
            not registered (in a plain list, say) always count with theirs: ``eval()`` does not reach them.

    Raises:
        ModelError: If attributes are nested too deep.
    """
    return _digest(_parts(net, include_modes))


def function_fingerprint(function: Callable[..., Any]) -> str:
    """Compute SHA-256 over a function or callable object: what ``value_parts`` says of it.

    Raises:
        ModelError: If what it holds is nested too deep.
    """
    return _digest(chain([HASH_VERSION], value_parts(function, {})))


def _digest(parts: Iterable[str | bytes]) -> str:
    try:
        return digest_of(parts)
    except RecursionError as error:
        raise ModelError(
            "what the model holds is nested too deep to be hashed (a chain of a hundred objects or more); "
            "hold the objects in a list, or wrap a function in BlackBox(function, hash=...)"
        ) from error


def _parts(net: nn.Module, include_modes: bool) -> Iterator[str | bytes]:
    yield HASH_VERSION
    yield ADAPTER_VERSION
    kinds: tuple[tuple[str, Iterable[tuple[str, Tensor | nn.Module]]], ...] = (
        ("parameter", sorted(net.named_parameters(remove_duplicate=False), key=lambda pair: pair[0])),
        ("buffer", sorted(net.named_buffers(remove_duplicate=False), key=lambda pair: pair[0])),
        ("module", list(net.named_modules(remove_duplicate=False))),
    )
    # An attribute that refers to what is registered has its name: it counts once, and cycles end there.
    known: Known = {}
    for kind, found in kinds:
        for name, item in found:
            known.setdefault(id(item), (item, f"{kind} {name}"))
    for kind, found in kinds:
        for name, item in found:
            yield f"{kind} {name}"
            if isinstance(item, Tensor):
                yield from tensor_parts(item)
            else:
                if include_modes:
                    yield f"training {item.training}"
                yield from module_parts(item, known)
