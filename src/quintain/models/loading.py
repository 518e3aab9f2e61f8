"""Load a model by name, from a factory in a user's file, an ONNX file, a function, or an address."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from quintain.core.errors import ModelError, SettingError
from quintain.core.files import sha256
from quintain.core.registry import get_entry
from quintain.core.source_files import source_hash
from quintain.models.blackbox import BlackBox
from quintain.models.classifier import Classifier
from quintain.models.protocol import ClassifierLike
from quintain.models.user_files import one_line_errors, user_object
from quintain.models.weights import load_weights

BLACK_BOX_PREFIXES = ("scores:", "labels:", "onnx:", "http://", "https://")
BLACK_BOX_SUFFIXES = (".onnx", ".toml")


def is_black_box(spec: str) -> bool:
    """Tell whether a spec names a black-box model (function, ONNX file or HTTP endpoint).

    Such a model is only queried: its weights cannot be given or read.
    """
    return spec.startswith(BLACK_BOX_PREFIXES) or spec.endswith(BLACK_BOX_SUFFIXES)


def load_model(
    spec: str,
    weights: str | Path | None = None,
    *,
    num_classes: int | None = None,
    channels: int | None = None,
    size: int | None = None,
    seed: int | None = None,
) -> ClassifierLike:
    """Load a classifier by name, from a file or from an address.

    ============================== =========================================================================
    ``xray-cnn``, ``net.py:make``  a ``torch.nn.Module``: see ``load_classifier``
    ``model.onnx``, ``onnx:model`` scores of an ONNX file (extra ``onnx``): see ``load_onnx``
    ``scores:file.py:function``    scores (B, K) of a function of arrays (B, *S) in [0, 1]: see ``BlackBox``
    ``labels:file.py:function``    labels (B,) of a function of arrays
    ``http://host:port/path``      scores by ``POST {"inputs": [...]}``, answered ``{"scores": [[...], ...]}``
    ``endpoint.toml``              any other exchange over HTTP, with retries, limits, cache: see ``Endpoint``
    ============================== =========================================================================

    Args:
        spec: One of these. A Python file is run: give only files that you trust.
        weights, channels, size, seed: For a ``torch.nn.Module`` alone.
        num_classes: Of the data; a function of labels needs it.

    Raises:
        UnknownNameError: If no model has that name.
        SettingError: If weights are given for a black-box model.
        ModelError: If the file cannot be run or read, or the weights do not fit.
    """
    if not is_black_box(spec):
        return load_classifier(
            spec, weights, num_classes=num_classes, channels=channels, size=size, seed=seed
        )
    if weights is not None:
        raise SettingError(f"{spec} is a black box and takes no weights; leave {weights} out")
    kind, colon, rest = spec.partition(":")
    if colon and kind in ("scores", "labels"):
        return _black_box_function(rest, "labels" if kind == "labels" else "scores", num_classes)
    if spec.startswith(("http://", "https://")) or spec.endswith(".toml"):
        from quintain.models.endpoint import Endpoint, read_endpoint
        from quintain.models.endpoint_client import connect

        return connect(
            read_endpoint(Path(spec).expanduser()) if spec.endswith(".toml") else Endpoint(spec),
            num_classes=num_classes,
        )
    from quintain.models.onnx import load_onnx

    return load_onnx(Path(spec.removeprefix("onnx:")).expanduser(), num_classes=num_classes)


def is_onnx(spec: str) -> bool:
    """Tell whether a spec names an ONNX file."""
    return spec.startswith("onnx:") or spec.endswith(".onnx")


def load_onnx_classifier(spec: str, *, num_classes: int | None = None) -> Classifier:
    """Load the net of an ONNX file, for what reads its layers: see ``import_onnx``.

    Args:
        spec: ``model.onnx``, ``onnx:model``.
        num_classes: Of the data.
    """
    from quintain.models.onnx_net.reader import import_onnx

    file = Path(spec.removeprefix("onnx:")).expanduser()
    return Classifier(import_onnx(file), num_classes=num_classes, name=file.name)


def load_classifier(
    spec: str,
    weights: str | Path | None = None,
    *,
    num_classes: int | None = None,
    channels: int | None = None,
    size: int | None = None,
    seed: int | None = None,
) -> Classifier:
    """Load a net in evaluation mode, by name or from a file, with weights.

    Args:
        spec: A registered name (``"xray-cnn"``), or ``"path/to/file.py:factory"`` where ``factory`` is a
            function or class that returns a ``torch.nn.Module``, or such a module itself. The file is run as
            Python code: give only files that you trust.
        weights: A ``.safetensors``, ``.pt`` or ``.pth`` file (``load_weights``); the factory's own weights if
            not given.
        num_classes, channels, size: Of the data; handed to the factory if it takes an argument of that name.
        seed: Of a fresh net's weights; handed on likewise, and PyTorch's own generator starts from it while
            the user's file runs.

    Raises:
        UnknownNameError: If no model has that name.
        SettingError: If it is a black box, or no factory is named.
        NotFoundError: If there is no such file, or it has no such factory.
        ModelError: If the file cannot be run, or the weights do not match.
    """
    if is_black_box(spec):
        raise SettingError(
            f"{spec} is a black box; this needs a torch.nn.Module, such as path/to/file.py:factory"
        )
    # Factories of users may still call the number of classes ``classes``, as earlier versions did.
    offered = {
        "num_classes": num_classes,
        "classes": num_classes,
        "channels": channels,
        "size": size,
        "seed": seed,
    }
    factory_arguments = {key: value for key, value in offered.items() if value is not None}
    path, colon, factory = spec.rpartition(":")
    if colon and path.endswith(".py"):
        with _seed_generator(seed):
            net = _from_file(Path(path).expanduser(), factory, factory_arguments)
    elif spec.endswith(".py"):
        raise SettingError(
            f"{spec} names no factory; expected {spec}:make, where make() returns a torch.nn.Module"
        )
    else:
        with one_line_errors(spec):
            net = _build(get_entry("model", spec).load(), spec, factory_arguments)
    _refuse_lazy_layers(net, spec)
    if weights is not None:
        load_weights(net, Path(weights).expanduser())
    return Classifier(net.eval(), num_classes=num_classes, name=spec)


def _refuse_lazy_layers(net: nn.Module, name: str) -> None:
    """Raise if a layer takes its shape from its first input: until then it has no weights, nor a hash.

    Raises:
        SettingError: If so.
    """
    lazy = [type(module).__name__ for module in net.modules() if isinstance(module, LazyModuleMixin)]
    if lazy:
        raise SettingError(
            f"{name} has layers without a shape yet ({', '.join(dict.fromkeys(lazy))}); run one forward pass "
            "in the factory before it returns the net, net(torch.zeros(1, *shape)), or name their input sizes"
        )


def _black_box_function(spec: str, access: Literal["labels", "scores"], num_classes: int | None) -> BlackBox:
    path, _, name = spec.rpartition(":")
    if not path.endswith(".py"):
        raise SettingError(f"{access}:{spec} names no function; expected {access}:path/to/file.py:function")
    file = Path(path).expanduser()
    with user_object(file, name) as answer:
        if not callable(answer) or isinstance(answer, type | nn.Module):
            raise ModelError(f"{spec} is no function of arrays; for a torch.nn.Module leave out '{access}:'")
    digest = sha256(f"{access} {name} {source_hash(file)}".encode())
    return BlackBox(answer, access=access, num_classes=num_classes, name=spec, hash=digest)


def _from_file(path: Path, factory: str, factory_arguments: dict[str, int]) -> nn.Module:
    with user_object(path, factory) as found:
        return _build(found, f"{path}:{factory}", factory_arguments)


def _build(factory: Callable[..., Any], name: str, factory_arguments: dict[str, int]) -> nn.Module:
    if isinstance(factory, nn.Module):
        return factory
    if not callable(factory):
        raise ModelError(
            f"{name} is a {type(factory).__name__}; expected a function or class that returns a "
            "torch.nn.Module"
        )
    taken = inspect.signature(factory).parameters
    net = factory(**{key: value for key, value in factory_arguments.items() if key in taken})
    if not isinstance(net, nn.Module):
        raise ModelError(f"{name} returns a {type(net).__name__}; expected a torch.nn.Module")
    return net


@contextmanager
def _seed_generator(seed: int | None) -> Iterator[None]:
    """Seed PyTorch's generator, from which layers draw their first weights, and restore it on exit."""
    state = torch.default_generator.get_state()
    if seed is not None:
        torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)
