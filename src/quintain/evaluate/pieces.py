"""What one attack found at one size on one batch: written down as soon as it is there, so that a run that was cut off goes on."""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quintain.core.errors import RunFolderError
from quintain.core.files import read_bytes, sha256, write_atomically

SETTINGS = "settings.json"


class Place(NamedTuple):
    """Which piece: the number of the batch, the attack's name and the threat's token."""

    batch: int
    attack: str
    threat: str


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Columns of the n examples that the attack was run on.

    Args:
        rows: Their places in the data set.
        broken, failed: As the attack's outcome says; failed is its error.
        size: Of the change that broke them; infinite where unbroken.
        radius: The same after bisection towards the clean example.
        forwards, backwards, found: As the outcome says.
        extra: Questions of the bisection.
        by: The member that broke them, empty where unbroken.
        seconds: Wall time.
        kept: The rows (m,) whose images are kept.
        images: Those (m, *S), as the attack left them.
    """

    rows: np.ndarray
    broken: np.ndarray
    failed: np.ndarray
    size: np.ndarray
    radius: np.ndarray
    forwards: np.ndarray
    backwards: np.ndarray
    found: np.ndarray
    extra: np.ndarray
    by: np.ndarray
    seconds: float
    kept: np.ndarray
    images: np.ndarray

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> "Piece":
        """Of an attack that had nobody to attack."""
        number, flag, real = np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0)
        images = np.zeros((0, *shape), np.float32)
        return cls(number, flag, flag, real, real, number, number, number, number, np.zeros(0, "<U1"), 0.0, number, images)

    def encode(self) -> bytes:
        """As an ``.npz`` file, without pickle."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **{field.name: getattr(self, field.name) for field in fields(self)})
        return buffer.getvalue()

    @classmethod
    def decode(cls, data: bytes, source: str = "piece") -> "Piece":
        """From what ``encode`` gave.

        Raises:
            RunFolderError: If it is damaged.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as held:
                columns = {field.name: held[field.name] for field in fields(cls)}
                return cls(**{**columns, "seconds": float(columns["seconds"])})
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
            raise RunFolderError(f"{source} is damaged; delete it, and the same command does that part again") from None


class Pieces:
    """The finished pieces of a run, in a folder of their own.

    Args:
        folder: Where; made with the first piece.
        settings: What the run was asked; pieces of another run are refused.

    Raises:
        RunFolderError: If the folder holds pieces of a run of other settings; the difference is named.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        self._folder, self._settings = folder, json.loads(json.dumps(settings))
        place = folder / SETTINGS
        if not place.exists():
            return
        try:
            found = json.loads(read_bytes(place))
            differ = [f"{key} = {found.get(key)!r}, now {value!r}" for key, value in self._settings.items() if found.get(key) != value]
        except (ValueError, AttributeError):
            raise RunFolderError(f"{place} cannot be read; choose another --out, or delete {folder}") from None
        if differ:
            raise RunFolderError(
                f"{folder} belongs to an unfinished run of other settings ({'; '.join(differ)}); use the same, or another --out"
            )

    def get(self, place: Place) -> Piece | None:
        """A finished piece."""
        path = self._path(place)
        return Piece.decode(read_bytes(path), str(path)) if path.exists() else None

    def put(self, place: Place, piece: Piece) -> None:
        """Write a piece, whole or not at all: from here on it is finished."""
        settings = self._folder / SETTINGS
        if not settings.exists():
            write_atomically(settings, json.dumps(self._settings, indent=1).encode() + b"\n")
        write_atomically(self._path(place), piece.encode())

    def _path(self, place: Place) -> Path:
        return self._folder / f"{place.batch:06d}-{sha256('/'.join(place[1:]).encode())[:16]}.npz"


def forget(folder: Path) -> None:
    """Remove the pieces of a run whose record is written."""
    for path in (*folder.glob("*.npz"), folder / SETTINGS):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
