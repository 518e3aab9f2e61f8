"""A run folder: its settings, one record a step, models, pictures and the report."""

import json
from pathlib import Path

from quintain.core.errors import RunFolderError, StorageError
from quintain.core.files import read_bytes, write_atomically
from quintain.drill.settings import Settings
from quintain.results.codec import load, save
from quintain.results.records import Record
from quintain.version import __version__

SETTINGS_FILE = "run.json"


class RunFolder:
    """Where a drill lives, from one start to the next.

    Args:
        path: The folder; made if it is not there.
        settings: What the drill was asked; a folder of other settings is refused.
        order: Names of all steps.

    Raises:
        RunFolderError: If the folder belongs to a run of other settings, or holds other files.
    """

    def __init__(self, path: Path, settings: Settings, order: tuple[str, ...]) -> None:
        self.path = path
        self._order = order
        asked = {"quintain": __version__, "seed": settings.seed, "quick": settings.quick}
        place = path / SETTINGS_FILE
        if place.exists():
            self._compare(place, asked)
        elif path.is_dir() and any(path.iterdir()):
            raise RunFolderError(f"{path} holds files but no run; choose an empty or new folder with --out")
        else:
            write_atomically(place, json.dumps(asked, indent=1).encode() + b"\n")

    def file(self, step: str) -> Path:
        """The record of a step."""
        return self.path / f"{self._order.index(step) + 1:02d}-{step}.json"

    def has(self, step: str) -> bool:
        """Whether a step is finished."""
        return self.file(step).exists()

    def record(self, step: str) -> Record:
        """What a finished step left behind."""
        return load(self.file(step))

    def keep(self, step: str, record: Record) -> None:
        """Write the record of a step: from here on it is finished."""
        save(record, self.file(step))

    def checkpoint(self, name: str) -> Path:
        """Where a training run within a step keeps its state."""
        return self.path / "checkpoints" / f"{name}.safetensors"

    def forget_checkpoints(self) -> None:
        """Remove what only an unfinished training needs."""
        folder = self.path / "checkpoints"
        try:
            for file in folder.glob("*.safetensors"):
                file.unlink()
            if folder.is_dir():
                folder.rmdir()
        except OSError as error:
            raise StorageError(f"cannot clear {folder}: {error.strerror}") from error

    def _compare(self, place: Path, asked: dict[str, object]) -> None:
        try:
            found = json.loads(read_bytes(place))
            differ = [f"{key} = {found.get(key)!r}, now {value!r}" for key, value in asked.items() if found.get(key) != value]
        except (ValueError, AttributeError):
            raise RunFolderError(f"{place} cannot be read; choose a new folder with --out, or delete {self.path}") from None
        if differ:
            raise RunFolderError(f"{self.path} belongs to a run of other settings ({'; '.join(differ)}); use the same, or another --out")
