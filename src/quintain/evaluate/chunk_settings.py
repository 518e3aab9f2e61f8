"""The settings of a run whose finished chunks lie in a folder: a run of others is refused."""

import json
from collections.abc import Mapping
from pathlib import Path

from quintain.core.errors import RunFolderError
from quintain.core.files import read_bytes, write_atomically


def refuse_other_settings(path: Path, settings: Mapping[str, object]) -> None:
    """Raise if what lies beside a file of settings was made by others.

    Raises:
        RunFolderError: If so, or if the file cannot be read; the difference is named.
    """
    if not path.exists():
        return
    try:
        found = json.loads(read_bytes(path))
        differ = [
            f"{key} = {found.get(key)!r}, now {value!r}"
            for key, value in json.loads(json.dumps(settings)).items()
            if found.get(key) != value
        ]
    except (ValueError, AttributeError):
        raise RunFolderError(
            f"{path} cannot be read; choose another --out, or delete {path.parent}"
        ) from None
    if differ:
        raise RunFolderError(
            f"{path.parent} belongs to an unfinished run of other settings ({'; '.join(differ)}); use the "
            "same, or another --out"
        )


def save_settings(path: Path, settings: Mapping[str, object]) -> None:
    """Write a file of settings where there is none."""
    if not path.exists():
        write_atomically(path, json.dumps(settings, indent=1).encode() + b"\n")
