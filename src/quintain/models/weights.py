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

Net = TypeVar("Net", bound=nn.Module)

NESTED_KEYS = ("state_dict", "model_state_dict")
MAX_SHOWN = 5


def save_weights(net: nn.Module, path: Path) -> str:
    """Write a net's state dict as safetensors, whole or not at all.

    Returns:
        The file's SHA-256; the same for the same weights.

    Raises:
        StorageError: If it cannot be written; what was there before stays.
    """
    from safetensors.torch import save

    data = save(
        {name: tensor.detach().cpu().contiguous().clone() for name, tensor in net.state_dict().items()}
    )
    write_atomically(path, data)
    return sha256(data)


def load_weights(net: Net, path: Path) -> Net:
    """Fill a net with the weights in a file, and return it; its mode stays as it is.

    Args:
        net: Changed in place, or not at all if the weights do not fit.
        path: ``.safetensors``; or ``.pt``, ``.pth``, holding a state dict, or a dict with one under
            ``"state_dict"`` or ``"model_state_dict"``.

    Raises:
        NotFoundError: If there is no such file.
        ModelError: If the file is of another kind, would have to be unpickled, or its weights do not fit the
            net.
        StorageError: If it cannot be read.
    """
    weights = read_weights(path)
    expected = net.state_dict()
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
        raise ModelError(
            f"{path} does not fit {type(net).__name__}: {'; '.join(problems)}. Expected the weights of this "
            "very architecture"
        )
    net.load_state_dict(dict(weights))
    return net


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """The named tensors in a weights file, on the CPU; nothing is ever unpickled."""
    if not path.is_file():
        raise NotFoundError(f"there is no weights file {path}; expected a .safetensors, .pt or .pth file")
    if path.suffix == ".safetensors":
        return _safetensors(path)
    if path.suffix in (".pt", ".pth"):
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
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{path} cannot be read as weights: {reason}. Expected torch.save(net.state_dict(), path)"
        ) from error
    for key in NESTED_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        keys = (
            f" with {', '.join(map(repr, list(content)[:MAX_SHOWN]))}" if isinstance(content, Mapping) else ""
        )
        raise ModelError(
            f"{path} holds a {type(content).__name__}{keys} that is not a state dict; expected names to "
            "tensors: torch.save(net.state_dict(), path)"
        )
    return content
