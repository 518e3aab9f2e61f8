"""The run folder of a drill: its settings, one record a step, models, pictures and the report."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from quintain.core.errors import RunFolderError, StorageError
from quintain.core.files import named_path, read_bytes, sha256_file, write_atomically
from quintain.dp.training.resume import delete_unfinished
from quintain.drill.settings import Settings, Workload
from quintain.results.codec import load, save
from quintain.results.records import Record
from quintain.results.run_layout import CHECKPOINTS, DRILL_SIZES_FILE, RUN_SETTINGS_FILE, UNFINISHED
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
        wanted = _identity(settings)
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

    def has(self, step: str, kind: type[object]) -> bool:
        """Return whether a step is finished with a result of a kind, and was not skipped."""
        return self.is_finished(step) and isinstance(self.record(step).result, kind)

    def sizes(self) -> dict[str, dict[str, int]]:
        """Return how much of each step is done, as far as that was decided.

        Raises:
            RunFolderError: If the file cannot be read.
        """
        place = self.path / DRILL_SIZES_FILE
        if not place.exists():
            return {}
        try:
            return _checked_sizes(json.loads(read_bytes(place)))
        except ValueError:
            raise RunFolderError(
                f"{place} cannot be read; choose a new folder with --out, or delete {self.path}"
            ) from None

    def save_sizes(self, sizes: Mapping[str, Mapping[str, int]]) -> None:
        """Save how much of each step is done, so that a resumed drill does as much."""
        write_atomically(self.path / DRILL_SIZES_FILE, json.dumps(sizes, indent=1).encode() + b"\n")

    def save(self, step: str, record: Record) -> None:
        """Save the record of a step: from here on it is finished, and what was kept of it is deleted."""
        save(record, self.file(step))
        delete_unfinished(self.unfinished(step))
        folder = self.path / UNFINISHED
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()

    def unfinished(self, step: str, part: str = "") -> Path:
        """Return where a step, or a part of it, keeps what is done of it until its record is whole."""
        return self.path / UNFINISHED / step / part

    def checkpoint(self, name: str) -> Path:
        """Return where a training within a step saves its state."""
        return self.path / CHECKPOINTS / f"{name}.safetensors"

    def delete_checkpoints(self) -> None:
        """Delete what only an unfinished drill needs: of a step whose record was just written, too."""
        delete_unfinished(self.path / UNFINISHED)
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
            found: dict[str, object] = json.loads(read_bytes(place))
            differ = [
                f"{key} = {found.get(key)!r}, now {wanted.get(key)!r}"
                for key in (*wanted, *(key for key in found if key not in wanted))
                if found.get(key) != wanted.get(key)
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


def _identity(settings: Settings) -> dict[str, object]:
    """Return the settings that a resumed drill must have too; what is left at its default is left out."""
    default = Settings()
    weights = settings.weights and sha256_file(settings.weights)
    file = named_path(settings.model)
    chosen = {
        "model": settings.model,
        "data": settings.data,
        "weights": weights,
        "threat": settings.threat,
        "epsilon": settings.epsilon,
        "clients": settings.clients,
        "classes": settings.classes,
        "only": list(settings.only),
    }
    usual = {**{key: getattr(default, key) for key in chosen}, "only": []}
    return {
        "quintain": __version__,
        "seed": settings.seed,
        "quick": settings.quick,
        **{key: value for key, value in chosen.items() if value != usual[key]},
        **({"content of model": sha256_file(file)} if file and file.is_file() else {}),
    }


def _checked_sizes(found: object) -> dict[str, dict[str, int]]:
    """Return stored sizes.

    Raises:
        ValueError: If they are none.
    """
    known = {one.name for one in fields(Workload)}
    if not isinstance(found, dict):
        raise ValueError("no mapping")
    for sizes in found.values():
        if not isinstance(sizes, dict) or not all(
            name in known and isinstance(size, int) and size >= 0 for name, size in sizes.items()
        ):
            raise ValueError("no sizes")
    return found
