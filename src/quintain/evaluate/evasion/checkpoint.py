"""Checkpoints of attack runs: each finished chunk is saved, so that an interrupted run resumes.

A chunk is one attack at one threat on some examples of one batch.
"""

import io
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quintain.core.errors import RunFolderError
from quintain.core.files import read_bytes, sha256, write_atomically
from quintain.evaluate.chunk_settings import check_chunk_settings, save_chunk_settings
from quintain.results.run_layout import CERTIFICATE_SETTINGS_FILE, CHUNK_SETTINGS_FILE


class ChunkKey(NamedTuple):
    """What a chunk is of: the number of the batch, the attack's name and the threat's spec."""

    batch: int
    attack: str
    threat: str


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Arrays over the n examples that the attack was run on.

    Args:
        rows: Their rows in the data set.
        broken: Where the attack succeeded.
        invalid: Where the model gave NaN.
        size: Size of the change that broke them; infinite where unbroken.
        radius: The same after bisection towards the clean example.
        forwards, backwards, queries_to_success: As the attack's outcome has them.
        bisection_queries: Queries of the bisection.
        smallest_sizes: As the attack's outcome has them, (n, 2); infinite where it does not say.
        found_by: The member of an ensemble that broke them, empty where unbroken.
        seconds: Wall time.
        kept: The rows (m,) whose adversarial examples are kept.
        images: Those adversarial examples (m, *S), as the attack left them.
        params: For a parametric threat their parameters (m, P); else (m, 0).
    """

    rows: np.ndarray
    broken: np.ndarray
    invalid: np.ndarray
    size: np.ndarray
    radius: np.ndarray
    forwards: np.ndarray
    backwards: np.ndarray
    queries_to_success: np.ndarray
    bisection_queries: np.ndarray
    smallest_sizes: np.ndarray
    found_by: np.ndarray
    seconds: float
    kept: np.ndarray
    images: np.ndarray
    params: np.ndarray

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> "Chunk":
        """Return a chunk without examples."""
        number, flag, real = np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0)
        images = np.zeros((0, *shape), np.float32)
        return cls(
            rows=number,
            broken=flag,
            invalid=flag,
            size=real,
            radius=real,
            forwards=number,
            backwards=number,
            queries_to_success=number,
            bisection_queries=number,
            smallest_sizes=np.zeros((0, 2)),
            found_by=np.zeros(0, "<U1"),
            seconds=0.0,
            kept=number,
            images=images,
            params=np.zeros((0, 0), np.float32),
        )

    @classmethod
    def concatenate(cls, chunks: Sequence["Chunk"]) -> "Chunk":
        """Return the chunk of all examples of some chunks of one key, at least one."""
        if len(chunks) == 1:
            return chunks[0]
        columns = {
            field.name: np.concatenate([getattr(one, field.name) for one in chunks])
            for field in fields(cls)
            if field.name not in ("seconds", "params")
        }
        # A chunk without a break does not know how many parameters a threat has.
        params = [one.params for one in chunks if len(one.kept)] or [chunks[0].params]
        return cls(**columns, seconds=sum(one.seconds for one in chunks), params=np.concatenate(params))

    def keep_only(self, rows: Collection[int]) -> "Chunk":
        """Return the chunk with the adversarial examples of these rows alone."""
        at = [place for place, row in enumerate(self.kept.tolist()) if row in rows]
        return replace(self, kept=self.kept[at], images=self.images[at], params=self.params[at])

    def encode(self) -> bytes:
        """Encode as an ``.npz`` file, without pickle."""
        buffer = io.BytesIO()
        np.savez(
            buffer, allow_pickle=False, **{field.name: getattr(self, field.name) for field in fields(self)}
        )
        return buffer.getvalue()

    @classmethod
    def decode(cls, data: bytes, source: str = "a chunk") -> "Chunk":
        """Decode what ``encode`` gave.

        Raises:
            RunFolderError: If it is damaged.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as held:
                columns = {field.name: held[field.name] for field in fields(cls)}
                return cls(**{**columns, "seconds": float(columns["seconds"])})
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
            raise RunFolderError(
                f"{source} is damaged; delete it, and the same command does that part again"
            ) from None


class ChunkStore:
    """The finished chunks of a run, kept in a folder of their own.

    Args:
        folder: Where; made with the first chunk.
        settings: Settings of the run; chunks of a run of other settings are refused.

    Raises:
        RunFolderError: If the folder holds chunks of a run of other settings; the difference is named.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        self._folder, self._settings = folder, settings
        check_chunk_settings(folder / CHUNK_SETTINGS_FILE, settings)

    def get(self, key: ChunkKey) -> list[Chunk]:
        """Return the finished chunks of a key, in the order of their rows; of examples without a chunk the
        work is not done.
        """
        paths = sorted(self._folder.glob(f"{_stem(key)}-*.npz"))
        return [Chunk.decode(read_bytes(path), str(path)) for path in paths]

    def put(self, key: ChunkKey, chunk: Chunk) -> None:
        """Save a chunk of at least one example, whole or not at all: from here on it is finished."""
        save_chunk_settings(self._folder / CHUNK_SETTINGS_FILE, self._settings)
        write_atomically(self._folder / f"{_stem(key)}-{int(chunk.rows[0]):09d}.npz", chunk.encode())


def _stem(key: ChunkKey) -> str:
    return f"{key.batch:06d}-{sha256('/'.join(key[1:]).encode())[:16]}"


def delete_chunks(folder: Path) -> None:
    """Delete the chunks of a run whose record is written."""
    for path in (
        *folder.glob("*.npz"),
        folder / CHUNK_SETTINGS_FILE,
        folder / CERTIFICATE_SETTINGS_FILE,
    ):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
