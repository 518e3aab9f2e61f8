"""The run folder of a drill: its settings, one record a step, models, pictures and the report."""

import json
from pathlib import Path

from quintain.core.errors import RunFolderError, StorageError
from quintain.core.files import read_bytes, write_atomically
from quintain.drill.settings import Settings
from quintain.results.codec import load, save
from quintain.results.records import Record
from quintain.results.run_layout import CHECKPOINTS, RUN_SETTINGS_FILE
from quintain.version import __version__


class RunFolder:
    """The run folder of a drill, from one start to the next.

    Args:
        path: The folder; made if it is not there.
        settings: The settings of the drill; a folder of other settings is refused.
        order: Names of all steps.

    Raises:
        RunFolderError: If the folder belongs to a run of other settings, or holds other files.
    """

    def __init__(self, path: Path, settings: Settings, order: tuple[str, ...]) -> None:
        self.path = path
        self._order = order
        wanted = {"quintain": __version__, "seed": settings.seed, "quick": settings.quick}
        place = path / RUN_SETTINGS_FILE
        if place.exists():
            self._compare(place, wanted)
        elif path.is_dir() and any(path.iterdir()):
            raise RunFolderError(f"{path} holds files but no run; choose an empty or new folder with --out")
        else:
            write_atomically(place, json.dumps(wanted, indent=1).encode() + b"\n")

    def file(self, step: str) -> Path:
        """Return the file of a step's record."""
        return self.path / f"{self._order.index(step) + 1:02d}-{step}.json"

    def is_finished(self, step: str) -> bool:
        """Return whether a step is finished."""
        return self.file(step).exists()

    def record(self, step: str) -> Record:
        """Load the record of a finished step."""
        return load(self.file(step))

    def save(self, step: str, record: Record) -> None:
        """Save the record of a step: from here on it is finished."""
        save(record, self.file(step))

    def checkpoint(self, name: str) -> Path:
        """Return where a training within a step saves its state."""
        return self.path / CHECKPOINTS / f"{name}.safetensors"

    def delete_checkpoints(self) -> None:
        """Delete what only an unfinished training needs."""
        folder = self.path / CHECKPOINTS
        try:
            for file in folder.glob("*.safetensors"):
                file.unlink()
            if folder.is_dir():
                folder.rmdir()
        except OSError as error:
            raise StorageError(f"cannot clear {folder}: {error.strerror}") from error

    def _compare(self, place: Path, wanted: dict[str, object]) -> None:
        try:
            found = json.loads(read_bytes(place))
            differ = [
                f"{key} = {found.get(key)!r}, now {value!r}"
                for key, value in wanted.items()
                if found.get(key) != value
            ]
        except (ValueError, AttributeError):
            raise RunFolderError(
                f"{place} cannot be read; choose a new folder with --out, or delete {self.path}"
            ) from None
        if differ:
            raise RunFolderError(
                f"{self.path} belongs to a run of other settings ({'; '.join(differ)}); use the same, or "
                "another --out"
            )
