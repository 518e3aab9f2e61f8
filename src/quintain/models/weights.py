"""Reading and writing weights: safetensors, or PyTorch's own format read without unpickling."""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from quintain.core.errors import ModelError, NotFoundError
from quintain.core.files import read_bytes, sha256, write_atomically
from quintain.models.adapters import label_hint

Net = TypeVar("Net", bound=nn.Module)

NESTED_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "weights")
"""Where checkpoints hold a state dict, the usual keys first."""

WRAPPERS = {"module", "_module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Parts of names that belong to what was put around a net: parallel training, Opacus, ``torch.compile``."""

TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".tar")
MAX_SHOWN = 5


def save_weights(net: nn.Module, path: Path) -> str:
    """Write a net's state dict as safetensors, whole or not at all.

    Returns:
        The file's SHA-256; the same for the same weights.

    Raises:
        StorageError: If it cannot be written; what was there before stays.
    """
    return save_tensors(net.state_dict(), path)


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> str:
    """Write tensors by name, such as a state dict, as ``save_weights`` does."""
    from safetensors.torch import save

    data = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})
    write_atomically(path, data)
    return sha256(data)


def load_weights(net: Net, path: Path) -> Net:
    """Fill a net with the weights in a file, and return it; its mode stays as it is.

    Args:
        net: Changed in place, or not at all if the weights do not fit.
        path: ``.safetensors``; or ``.pt``, ``.pth``, ``.bin``, ``.ckpt``, ``.tar`` of ``torch.save``, holding
            a state dict, or a dict with one under ``"state_dict"``, ``"model"`` or another of
            ``NESTED_KEYS``. Names may begin with what was put around the net, such as ``module.`` or
            ``_orig_mod.``.

    Raises:
        NotFoundError: If there is no such file.
        ModelError: If the file is of another kind, would have to be unpickled, or its weights do not fit the
            net.
        StorageError: If it cannot be read.
    """
    expected = net.state_dict()
    weights = _under_own_names(read_weights(path), expected)
    missing = sorted(expected.keys() - weights.keys())
    unexpected = sorted(weights.keys() - expected.keys())
    misshaped = [
        f"{name} {tuple(weights[name].shape)} for {tuple(expected[name].shape)}"
        for name in expected
        if name in weights and weights[name].shape != expected[name].shape
    ]
    problems = [
        f"{label}: {', '.join(names[:MAX_SHOWN])}"
        f"{f' and {len(names) - MAX_SHOWN} more' if len(names) > MAX_SHOWN else ''}"
        for label, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", misshaped),
        )
        if names
    ]
    if problems:
        hint = "" if missing or unexpected else _other_classes_hint(weights, expected)
        raise ModelError(
            f"{path} does not fit {type(net).__name__}: {'; '.join(problems)}. Expected the weights of this "
            f"very architecture{hint}"
        )
    net.load_state_dict(dict(weights))
    return net


def _under_own_names(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return weights under the names that a net has for them, where only wrappers make them differ.

    Wrappers are those of ``WRAPPERS``, wherever they stand, on either side; or else whatever all names of
    the weights begin with. Names that fit in no such way are returned with as many of the net's as possible.
    """
    if weights.keys() == expected.keys():
        return weights
    own = {_strip_wrappers(name): name for name in expected}
    plain = {_strip_wrappers(name): value for name, value in weights.items()}
    if len(own) < len(expected) or len(plain) < len(weights):
        return weights  # two names would become one
    nearest, shortened = weights, plain
    while True:
        renamed = {own.get(name, name): value for name, value in shortened.items()}
        if len(renamed.keys() & expected.keys()) > len(nearest.keys() & expected.keys()):
            nearest = renamed
        outer = {name.partition(".")[0] for name in shortened}
        if len(outer) != 1 or not all("." in name for name in shortened):
            return nearest
        shortened = {name.partition(".")[2]: value for name, value in shortened.items()}


def _strip_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _other_classes_hint(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Say how to build a net of as many classes as the weights have, if that explains all shapes."""
    other = [name for name in expected if weights[name].shape != expected[name].shape]
    rows = {(weights[name].shape[:1], expected[name].shape[:1]) for name in other}
    inner = [(weights[name].shape[1:], expected[name].shape[1:]) for name in other]
    if len(rows) != 1 or any(one != another for one, another in inner):
        return ""
    (given,), (own,) = next(iter(rows))
    hint = f"; if they are of a net of {given} classes, give --classes {given} (num_classes={given})"
    return hint + label_hint(given, own)


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """The named tensors in a weights file, on the CPU; nothing is ever unpickled."""
    if not path.is_file():
        raise NotFoundError(f"there is no weights file {path}; expected a .safetensors, .pt or .pth file")
    if path.suffix == ".safetensors":
        return _safetensors(path)
    if path.suffix in TORCH_SUFFIXES:
        return _torch(path)
    raise ModelError(
        f"{path} is refused: such files are read by unpickling, which can run any code. "
        "Expected .safetensors, or a state dict in .pt or .pth; "
        "convert it with safetensors.torch.save_file(net.state_dict(), 'weights.safetensors')"
    )


def _safetensors(path: Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(read_bytes(path))
    except SafetensorError as error:
        raise ModelError(
            f"{path} is not a whole safetensors file: {error}. Save it again with safetensors.torch.save_file"
        ) from error


def _torch(path: Path) -> Mapping[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of the pickle protocol before it refuses the pickle
            content = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is refused: it holds more than tensors, and unpickling can run any code. "
            "Expected a state dict: torch.save(net.state_dict(), path), or better a .safetensors file"
        ) from error
    except Exception as error:  # torch has many classes for what is no file of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{path} cannot be read as weights: {reason}. Expected torch.save(net.state_dict(), path)"
        ) from error
    for _ in NESTED_KEYS:  # one may lie in another
        inner = [content.get(key) for key in NESTED_KEYS] if isinstance(content, Mapping) else []
        content = next((value for value in inner if isinstance(value, Mapping)), content)
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        keys = (
            f" with {', '.join(map(repr, list(content)[:MAX_SHOWN]))}" if isinstance(content, Mapping) else ""
        )
        raise ModelError(
            f"{path} holds a {type(content).__name__}{keys} that is not a state dict; expected names to "
            "tensors: torch.save(net.state_dict(), path)"
        )
    return content
