"""The checkpoint of a training run, one safetensors file: weights, optimizer state, place and losses."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from quintain.core.errors import RunFolderError
from quintain.core.files import write_atomically

SEAL = "seal"


class TrainingPlace(NamedTuple):
    """How far a training run is.

    Args:
        epoch: Finished epochs.
        step: Finished steps of the next one.
        running_loss: Sum of the losses of the examples of these steps.
        losses: Mean loss of each finished epoch.
    """

    epoch: int = 0
    step: int = 0
    running_loss: float = 0.0
    losses: tuple[float, ...] = ()


def save_checkpoint(
    path: Path, net: nn.Module, optimizer: torch.optim.Optimizer, place: TrainingPlace, *, fingerprint: str
) -> None:
    """Write the state at a place of the run, after a whole step.

    Args:
        fingerprint: Of everything that the run depends on; ``load_checkpoint`` refuses another one.
    """
    metadata = {
        "epoch": str(place.epoch),
        "step": str(place.step),
        "running_loss": json.dumps(place.running_loss),
        "losses": json.dumps(place.losses),
        "fingerprint": fingerprint,
    }
    write_atomically(path, encode_checkpoint(net, optimizer, metadata))


def load_checkpoint(
    path: Path, net: nn.Module, optimizer: torch.optim.Optimizer, *, fingerprint: str
) -> TrainingPlace:
    """Put a saved state back into ``net`` and ``optimizer``, and return its place.

    Raises:
        RunFolderError: If the file is damaged or belongs to another run.
    """
    metadata, tensors = read_checkpoint(path)
    if metadata.get("fingerprint") != fingerprint:
        raise RunFolderError(
            f"checkpoint {path} belongs to a run with other settings, data or seed; delete it or choose "
            "another folder"
        )
    weights, state = decode_checkpoint(metadata, tensors)
    net.load_state_dict(weights)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return TrainingPlace(
        epoch=int(metadata["epoch"]),
        step=int(metadata.get("step", 0)),
        running_loss=json.loads(metadata.get("running_loss", "0")),
        losses=tuple(json.loads(metadata["losses"])),
    )


def encode_checkpoint(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    metadata: Mapping[str, str],
    extra_tensors: Mapping[str, Tensor] | None = None,
) -> bytes:
    """Encode weights, optimizer state, metadata and further tensors as one file."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in (extra_tensors or {}).items()}
    tensors |= {
        f"weights.{name}": value.detach().cpu().contiguous() for name, value in net.state_dict().items()
    }
    scalars: dict[str, float | int | None] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser.{index}.{key}"] = value.detach().cpu().contiguous()
            else:
                scalars[f"{index}.{key}"] = value
    return seal_checkpoint(tensors, {**metadata, "plain": json.dumps(scalars)})


def seal_checkpoint(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Encode tensors and metadata as one file that ``read_checkpoint`` reads, with a hash over all of it."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    return save(_clone_shared(plain), {**metadata, SEAL: _hash(metadata, plain)})


def read_checkpoint(
    path: Path, advice: str = "delete it to train from the start"
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read the metadata and tensors of a checkpoint.

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


def decode_checkpoint(
    metadata: Mapping[str, str], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[int, dict[str, Any]]]:
    """Return the net's weights, and the optimizer's state by the number of its parameter."""
    weights = {
        name.removeprefix("weights."): value for name, value in tensors.items() if name.startswith("weights.")
    }
    state: dict[int, dict[str, Any]] = {}
    saved = {
        name.removeprefix("optimiser."): value
        for name, value in tensors.items()
        if name.startswith("optimiser.")
    }
    for name, value in {**saved, **json.loads(metadata["plain"])}.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    return weights, state


def _hash(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Hash all that a file holds, so that damage is noticed; this does not stop a forger."""
    digest = hashlib.blake2b(json.dumps(metadata, sort_keys=True).encode(), digest_size=16)
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _clone_shared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Clone tensors that share memory with another one, which the format does not allow."""
    visited: set[int] = set()
    result = {}
    for name, value in tensors.items():
        pointer = value.data_ptr()
        result[name] = value.clone() if pointer in visited else value
        visited.add(pointer)
    return result
