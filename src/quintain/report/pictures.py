"""Stored pictures as data URIs: only what the record promised is shown."""

import base64
from dataclasses import dataclass
from pathlib import Path

from quintain.core.errors import StorageError
from quintain.core.files import read_bytes, sha256
from quintain.results.artifacts import Picture

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class EmbeddedPicture:
    """A picture on the page.

    Args:
        source: A data URI, empty where there is nothing to show.
        caption: What is seen.
        frame: The color of its frame.
        problem: Why it is not shown, in two words.
    """

    source: str
    caption: str
    frame: str
    problem: str = ""


def embed(picture: Picture, folder: Path) -> EmbeddedPicture:
    """Return the picture as it was recorded, or what is wrong with its file.

    The file may be missing, changed, no PNG, or outside the run folder.
    """
    path = folder / picture.path
    if not path.resolve().is_relative_to(folder.resolve()):
        return EmbeddedPicture("", picture.caption, picture.frame, "outside the run folder")
    try:
        data = read_bytes(path)
    except StorageError:
        return EmbeddedPicture("", picture.caption, picture.frame, "picture missing")
    if sha256(data) != picture.sha256:
        return EmbeddedPicture("", picture.caption, picture.frame, "picture changed")
    if not data.startswith(_PNG):
        return EmbeddedPicture("", picture.caption, picture.frame, "not a PNG")
    return EmbeddedPicture(
        "data:image/png;base64," + base64.b64encode(data).decode(), picture.caption, picture.frame
    )
