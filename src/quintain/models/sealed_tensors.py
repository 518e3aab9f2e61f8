"""A file of named tensors and a few words, in the format safetensors, that notices damage when it is read."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from quintain.core.errors import RunFolderError

SEAL = "seal"


def seal_checkpoint(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Encode tensors and metadata as one file that ``read_checkpoint`` reads, with a hash over all of it."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    return save(_clone_shared(plain), {**metadata, SEAL: _hash(metadata, plain)})


def read_checkpoint(
    path: Path, advice: str = "delete it to train from the start"
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read the metadata and tensors of a file that ``seal_checkpoint`` made.

    Args:
        path: The file.
        advice: What to do if it is damaged.

    Raises:
        RunFolderError: If it is damaged, or not what was written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RunFolderError(f"checkpoint {path} cannot be read ({error}); {advice}") from None
    seal = metadata.pop(SEAL, "")
    if seal != _hash(metadata, tensors):
        raise RunFolderError(f"checkpoint {path} is not what was written: its hash is another; {advice}")
    return metadata, tensors


def is_checkpoint(path: Path) -> bool:
    """Whether a file is one that ``seal_checkpoint`` made, whether or not it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return SEAL in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _hash(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Hash all that a file holds, so that damage is noticed; this does not stop a forger."""
    digest = hashlib.blake2b(json.dumps(metadata, sort_keys=True).encode(), digest_size=16)
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        if value.numel():  # strides of nothing may forbid the view
            digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _clone_shared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Clone tensors that share memory with another one, which the format does not allow."""
    visited: set[int] = set()
    result = {}
    for name, value in tensors.items():
        pointer = value.data_ptr()
        result[name] = value.clone() if pointer in visited else value
        visited.add(pointer)
    return result


def select_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, by their names without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
