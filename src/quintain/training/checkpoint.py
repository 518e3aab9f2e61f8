"""The checkpoint of a training run, one safetensors file: weights, optimizer state, place and losses."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from quintain.core.errors import RunFolderError
from quintain.core.files import write_atomically
from quintain.models.sealed_tensors import read_checkpoint, seal_checkpoint, select_prefix


class TrainingPlace(NamedTuple):
    """How far a training run is.

    Args:
        epoch: Finished epochs.
        step: Finished steps of the next one.
        running_loss: Sum of the losses of the examples of these steps.
        losses: Mean loss of each finished epoch.
        kept_words, kept_tensors: What is kept beside the weights, as ``KeptWeights`` writes it.
    """

    epoch: int = 0
    step: int = 0
    running_loss: float = 0.0
    losses: tuple[float, ...] = ()
    kept_words: str = ""
    kept_tensors: Mapping[str, Tensor] = MappingProxyType({})


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
        "kept": place.kept_words,
    }
    write_atomically(path, encode_checkpoint(net, optimizer, metadata, place.kept_tensors))


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
        kept_words=metadata.get("kept", ""),
        kept_tensors=tensors,
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


def decode_checkpoint(
    metadata: Mapping[str, str], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[int, dict[str, Any]]]:
    """Return the net's weights, and the optimizer's state by the number of its parameter."""
    weights = select_prefix(tensors, "weights.")
    state: dict[int, dict[str, Any]] = {}
    saved = select_prefix(tensors, "optimiser.")
    for name, value in {**saved, **json.loads(metadata["plain"])}.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    return weights, state
