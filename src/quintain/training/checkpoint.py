"""All that a run needs to go on, in one safetensors file: weights, optimiser state, place and losses. Seeds follow from the place."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from quintain.core.errors import RunFolderError
from quintain.core.store import write_atomically

SEAL = "seal"


def save_checkpoint(
    path: Path, net: nn.Module, optimizer: torch.optim.Optimizer, *, epoch: int, losses: Sequence[float], fingerprint: str
) -> None:
    """Write the state after ``epoch`` finished epochs.

    Args:
        fingerprint: Of everything that the run depends on; ``load_checkpoint`` wants the same.
    """
    write_atomically(path, pack(net, optimizer, {"epoch": str(epoch), "losses": json.dumps(list(losses)), "fingerprint": fingerprint}))


def load_checkpoint(path: Path, net: nn.Module, optimizer: torch.optim.Optimizer, *, fingerprint: str) -> tuple[int, list[float]]:
    """Put a saved state back into ``net`` and ``optimizer``.

    Returns:
        Finished epochs and their losses.

    Raises:
        RunFolderError: If the file is damaged or belongs to another run.
    """
    metadata, tensors = read(path)
    if metadata.get("fingerprint") != fingerprint:
        raise RunFolderError(f"checkpoint {path} belongs to a run with other settings, data or seed; delete it or choose another folder")
    weights, state = unpack(metadata, tensors)
    net.load_state_dict(weights)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(metadata["epoch"]), json.loads(metadata["losses"])


def pack(net: nn.Module, optimizer: torch.optim.Optimizer, metadata: Mapping[str, str], more: Mapping[str, Tensor] | None = None) -> bytes:
    """Weights, optimiser state, words and more tensors as one file."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in (more or {}).items()}
    tensors |= {f"weights.{name}": value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    plain: dict[str, float | int | None] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser.{index}.{key}"] = value.detach().cpu().contiguous()
            else:
                plain[f"{index}.{key}"] = value
    words = {**metadata, "plain": json.dumps(plain)}
    return save(_unshared(tensors), {**words, SEAL: _hash(words, tensors)})


def read(path: Path, advice: str = "delete it to train from the start") -> tuple[dict[str, str], dict[str, Tensor]]:
    """The words and tensors of such a file.

    Args:
        path: The file.
        advice: What to do where it is damaged.

    Raises:
        RunFolderError: If it is damaged, or not what was written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            words, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RunFolderError(f"checkpoint {path} cannot be read ({error}); {advice}") from None
    seal = words.pop(SEAL, "")
    if seal != _hash(words, tensors):
        raise RunFolderError(f"checkpoint {path} is not what was written: its hash is another; {advice}")
    return words, tensors


def unpack(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[int, dict[str, Any]]]:
    """The net's weights, and the optimiser's state by the number of its parameter."""
    weights = {name.removeprefix("weights."): value for name, value in tensors.items() if name.startswith("weights.")}
    state: dict[int, dict[str, Any]] = {}
    saved = {name.removeprefix("optimiser."): value for name, value in tensors.items() if name.startswith("optimiser.")}
    for place, value in {**saved, **json.loads(metadata["plain"])}.items():
        index, _, key = place.partition(".")
        state.setdefault(int(index), {})[key] = value
    return weights, state


def _hash(words: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Of all that a file holds, so that damage is noticed, though not a forger."""
    digest = hashlib.blake2b(json.dumps(words, sort_keys=True).encode(), digest_size=16)
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies where two names share memory, which the format does not allow."""
    seen: set[int] = set()
    result = {}
    for name, value in tensors.items():
        pointer = value.data_ptr()
        result[name] = value.clone() if pointer in seen else value
        seen.add(pointer)
    return result
