"""Finished trainings of an audit, kept in the run folder, so that a killed audit goes on after them."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from quintain.core.errors import RunFolderError
from quintain.core.files import read_bytes, write_atomically
from quintain.leakage.canary_training import CanaryScores
from quintain.results.class_counts import ClassCounts

SETTINGS_FILE = "trainings.json"
"""What all trainings of the folder have in common."""


@dataclass(frozen=True, slots=True)
class KeptTrainings:
    """The canary scores of finished trainings, a file each.

    Args:
        folder: Where they are; nothing is kept if not given.
        settings: What they depend on, by name.

    Raises:
        RunFolderError: If the folder holds trainings of other settings.
    """

    folder: Path | None
    settings: Mapping[str, object]

    def __post_init__(self) -> None:
        if self.folder is None:
            return
        place, wanted = self.folder / SETTINGS_FILE, json.loads(json.dumps(dict(self.settings)))
        if not place.exists():
            write_atomically(place, json.dumps(wanted).encode(), mode=0o600)
            return
        try:
            found = json.loads(read_bytes(place))
        except ValueError:
            found = {}
        differ = [name for name in wanted if found.get(name) != wanted[name]]
        if differ:
            raise RunFolderError(
                f"{self.folder} holds trainings of another {', '.join(differ)}; use another --out"
            )

    def get(self, name: str, train: Callable[[], CanaryScores]) -> CanaryScores:
        """Return what a training showed: as it is kept, or else after it was done.

        Raises:
            RunFolderError: If its file is damaged.
        """
        path = None if self.folder is None else self.folder / f"{name}.npz"
        if path is None:
            return train()
        if path.exists():
            return _read(path)
        found, data = train(), io.BytesIO()
        arrays = {name: value for name, value in asdict(found).items() if name != "fit"}
        np.savez(data, **arrays, fit=np.array([found.fit.correct, found.fit.total]))
        write_atomically(path, data.getvalue(), mode=0o600)
        return found


def _read(path: Path) -> CanaryScores:
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as held:
            arrays = {one.name: held[one.name] for one in fields(CanaryScores)}
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise RunFolderError(
            f"{path} cannot be read ({error}); delete it, and the training is done anew"
        ) from error
    return CanaryScores(
        arrays["scores"],
        arrays["included"],
        float(arrays["training_seconds"]),
        float(arrays["scoring_seconds"]),
        ClassCounts(*(tuple(row) for row in arrays["fit"].tolist())),
    )
