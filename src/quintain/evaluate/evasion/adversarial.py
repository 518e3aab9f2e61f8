"""Every adversarial example of a run as one safetensors file: written part by part, and read the same way."""

import json
import math
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from torch import Tensor

from quintain.core.errors import RunFolderError
from quintain.core.files import sha256_file, write_parts_atomically
from quintain.evaluate.evasion.checkpoint import Chunk, ChunkKey, ChunkStore
from quintain.results.artifacts import AdversarialFile

FORMAT = "quintain-adversarial-1"

_BYTES = {"F32": 4, "F64": 8, "I64": 8}
"""Bytes of a number, by the format's name of its type."""


@dataclass(frozen=True, slots=True)
class AdversarialExamples:
    """Some stored adversarial examples.

    Args:
        x_adv: The changed inputs (n, *S), as the attack left them.
        params: For a parametric threat the parameters that they are rendered from (n, P); else (n, 0).
        ids: Rows of the clean inputs in the data that were attacked (n,).
        labels: Their true classes (n,).
        distance: Sizes of the changes (n,) float64.
        attack, threat: Which attack at which threat, as indices into the names of the file (n,).
    """

    x_adv: Tensor
    params: Tensor
    ids: Tensor
    labels: Tensor
    distance: Tensor
    attack: Tensor
    threat: Tensor


@dataclass(frozen=True, slots=True)
class AdversarialSource:
    """What the adversarial examples of a file were made on and by.

    Args:
        attacks: Names of the attacks.
        threats: Specs of the threats.
        model_title, model_hash: The model.
        data_hash: Of the examples that were attacked.
        target_class: The class that the attacks aimed at; any wrong one if None.
        data_options: How the data were named, so that they can be loaded again.
    """

    attacks: tuple[str, ...]
    threats: tuple[str, ...]
    model_title: str
    model_hash: str
    data_hash: str
    target_class: int | None = None
    data_options: Mapping[str, str | int | None] | None = None


def store_adversarial(
    folder: Path,
    name: str,
    source: AdversarialSource,
    keys: Collection[ChunkKey],
    store: ChunkStore,
    labels: np.ndarray,
    shape: tuple[int, ...],
    others: Sequence[tuple[ChunkKey, Chunk]] = (),
) -> AdversarialFile:
    """Write every adversarial example of a run: one for each attack and threat at which an example was
    broken.

    Args:
        folder: The run folder.
        name: Of the file in it.
        source: What they were made on and by.
        keys: Of the finished chunks.
        store: Where these are; they are read one by one.
        labels: True classes of all examples (N,).
        shape: Of one input.
        others: Chunks that are in no store.

    Raises:
        StorageError: If the file cannot be written.
        RunFolderError: If a chunk is damaged.
    """
    attacks, threats = source.attacks.index, source.threats.index
    ordered = sorted(keys, key=lambda key: (key.batch, attacks(key.attack), threats(key.threat)))

    def saved() -> Iterator[tuple[ChunkKey, Chunk]]:
        return chain(((key, chunk) for key in ordered for chunk in store.get(key) if len(chunk.kept)), others)

    found = [
        (chunk.kept, chunk.size[chunk.broken], key.attack, key.threat, chunk.params.shape[1])
        for key, chunk in saved()
    ]
    counts = [len(ids) for ids, *_ in found]
    ids = np.concatenate([ids for ids, *_ in found] or [np.zeros(0)]).astype("<i8")
    columns: dict[str, np.ndarray] = {
        "ids": ids,
        "labels": labels[ids].astype("<i8"),
        "distance": np.concatenate([size for _, size, *_ in found] or [np.zeros(0)]).astype("<f8"),
        "attack": np.repeat([attacks(name) for _, _, name, *_ in found], counts).astype("<i8"),
        "threat": np.repeat([threats(spec) for *_, spec, _ in found], counts).astype("<i8"),
    }
    num_params = max((one[-1] for one in found), default=0)
    layout: dict[str, tuple[str, tuple[int, ...]]] = {
        **{name: ("F64" if name == "distance" else "I64", (len(ids),)) for name in columns},
        "x_adv": ("F32", (len(ids), *shape)),
        "params": ("F32", (len(ids), num_params)),
    }

    def parts() -> Iterator[bytes]:
        yield _header(layout, _metadata(source))
        for column in columns.values():
            yield column.tobytes()
        for _, chunk in saved():
            yield chunk.images.astype("<f4").tobytes()
        for _, chunk in saved():
            yield chunk.params.astype("<f4").tobytes()

    return AdversarialFile(name, write_parts_atomically(folder / name, parts()), len(ids))


@dataclass(frozen=True, slots=True)
class StoredAdversarial:
    """The open file of a run, read some examples at a time.

    Args:
        source: What the examples were made on and by.
        shape: Of one input.
        columns: All but the inputs and the parameters, which are read by ``batches``.
    """

    source: AdversarialSource
    shape: tuple[int, ...]
    columns: Mapping[str, Tensor]
    _file: safe_open

    def __len__(self) -> int:
        return len(self.columns["ids"])

    def batches(self, size: int) -> Iterator[AdversarialExamples]:
        """Read all examples in order, ``size`` at a time; only one batch is in memory."""
        x_adv, params = self._file.get_slice("x_adv"), self._file.get_slice("params")
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            yield AdversarialExamples(
                x_adv[rows], params[rows], **{name: column[rows] for name, column in self.columns.items()}
            )


@contextmanager
def open_adversarial(path: Path, digest: str) -> Iterator[StoredAdversarial]:
    """Open the adversarial examples of a run.

    Args:
        path: The file.
        digest: Its SHA-256 by the record of the run.

    Raises:
        RunFolderError: If it is missing, damaged, or another one than the record names.
    """
    if not path.is_file():
        raise RunFolderError(f"{path} is missing; run the attack again, which stores it")
    if sha256_file(path) != digest:
        raise RunFolderError(f"{path} is not the file that the run stored; run the attack again")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = ("ids", "labels", "distance", "attack", "threat")
            columns = {name: file.get_tensor(name) for name in names}
            yield StoredAdversarial(
                _source(metadata), tuple(file.get_slice("x_adv").get_shape()[1:]), columns, file
            )
    except (SafetensorError, KeyError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read: {error}; run the attack again") from None


def _header(layout: Mapping[str, tuple[str, Sequence[int]]], metadata: Mapping[str, str]) -> bytes:
    """Return the head of a safetensors file: its length, then names, types, shapes and places in JSON."""
    head: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, (dtype, shape) in layout.items():
        start, end = end, end + math.prod(shape) * _BYTES[dtype]
        head[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(head).encode()
    # Every column begins at a multiple of its numbers' bytes: the head is padded, eight bytes come first.
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _metadata(source: AdversarialSource) -> dict[str, str]:
    """Return the strings of the file; what is no string is JSON."""
    return {
        "format": FORMAT,
        "attacks": json.dumps(source.attacks),
        "threats": json.dumps(source.threats),
        "model": source.model_title,
        "model_hash": source.model_hash,
        "data_hash": source.data_hash,
        "target_class": json.dumps(source.target_class),
        "data_options": json.dumps(dict(source.data_options or {})),
    }


def _source(metadata: Mapping[str, str]) -> AdversarialSource:
    if metadata.get("format") != FORMAT:
        raise ValueError(f"its format is {metadata.get('format')!r}; expected {FORMAT}")
    return AdversarialSource(
        attacks=tuple(json.loads(metadata["attacks"])),
        threats=tuple(json.loads(metadata["threats"])),
        model_title=metadata["model"],
        model_hash=metadata["model_hash"],
        data_hash=metadata["data_hash"],
        target_class=json.loads(metadata["target_class"]),
        data_options=json.loads(metadata["data_options"]),
    )
