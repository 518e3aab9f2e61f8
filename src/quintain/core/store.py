"""Files that are whole or absent: written beside their place, then renamed into it."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from quintain.core.errors import StorageError


def sha256(data: bytes) -> str:
    """Hex digest of bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error


def read_bytes(path: Path) -> bytes:
    """A file's content.

    Raises:
        StorageError: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file so that a reader, a crash or a full disk never sees half of it.

    Args:
        path: Where; its folder is made if need be.
        data: What.
        mode: The file's permissions; ``0o600`` for what holds keys.

    Raises:
        StorageError: If it cannot be written; what was there before stays.
    """
    scratch: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        scratch = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.chmod(mode)
        scratch.replace(path)
    except OSError as error:
        if scratch is not None:
            with contextlib.suppress(OSError):
                scratch.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error.strerror}; free some space or choose another folder with --out") from error
