"""The settings that finished chunks were computed with: a run with other settings does not continue them."""

import json
from collections.abc import Mapping
from pathlib import Path

from quintain.core.errors import RunFolderError
from quintain.core.files import read_bytes, write_atomically
from quintain.core.settings_difference import settings_difference


def check_chunk_settings(path: Path, settings: Mapping[str, object]) -> None:
    """Raise if the chunks in a folder were computed with other settings than these.

    Args:
        path: The folder's file of settings; where there is none, the folder has no chunks.
        settings: Settings of the run, by name, as JSON can hold them; other names in the file are ignored.

    Raises:
        RunFolderError: If so, with the difference, or if the file cannot be read.
    """
    if not path.exists():
        return
    try:
        differ = settings_difference(json.loads(read_bytes(path)), settings)
    except (ValueError, AttributeError):
        raise RunFolderError(
            f"{path} cannot be read; choose another --out, or delete {path.parent}"
        ) from None
    if differ:
        raise RunFolderError(
            f"{path.parent} belongs to an unfinished run of other settings ({differ}); use the "
            "same, or another --out"
        )


def save_chunk_settings(path: Path, settings: Mapping[str, object]) -> None:
    """Write the settings of chunks into their folder, unless they are there already."""
    if not path.exists():
        write_atomically(path, json.dumps(settings, indent=1).encode() + b"\n")
