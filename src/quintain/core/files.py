"""Files that are whole or absent: written beside their place, then renamed into it."""

import hashlib
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from quintain.core.errors import StorageError

_SCRATCH_BYTES = 8


def sha256(data: bytes) -> str:
    """Return the hex digest of bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the hex digest of a file, which is read block by block."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error


def named_path(text: str) -> Path | None:
    """Return the file or the folder that a parameter names: ``net.py`` of ``net.py:make``, too."""
    rest = text.partition(":")[2]
    for name in (text, text.rpartition(":")[0], rest, rest.rpartition(":")[0]):
        if name and Path(name).exists():
            return Path(name)
    return None


def read_bytes(path: Path) -> bytes:
    """Return a file's content.

    Raises:
        StorageError: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(
            f"cannot read {path}: {error.strerror}; check the path and its permissions"
        ) from error


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file so that a reader, a crash or a full disk never sees half of it.

    Args:
        path: Where; its folder is made if need be.
        data: What.
        mode: The file's permissions, less those that the user's umask withholds; ``0o600`` for what holds
            keys.

    Raises:
        StorageError: If it cannot be written; what was there before stays.
    """
    write_parts_atomically(path, (data,), mode=mode)


def remove_leftovers(path: Path) -> None:
    """Remove what ``write_atomically`` has left beside a file where its process was killed within it.

    For files with a secret, by the one program that writes them, before it writes: what another writes just
    now goes as well.

    Raises:
        StorageError: If one cannot be removed.
    """
    is_scratch = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{{2 * _SCRATCH_BYTES}}}").fullmatch
    try:
        for one in list(path.parent.iterdir()) if path.parent.is_dir() else []:
            if is_scratch(one.name):
                one.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot remove what an interrupted write has left beside {path}: {error.strerror}; remove "
            f".{path.name}.* by hand"
        ) from error


def write_parts_atomically(path: Path, parts: Iterable[bytes], *, mode: int = 0o644) -> str:
    """Write a file as ``write_atomically`` does, part after part: memory holds one of them at a time.

    Returns:
        The hex digest of the whole.

    Raises:
        StorageError: If it cannot be written; what was there before stays.
    """
    digest = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{secrets.token_hex(_SCRATCH_BYTES)}")
        handle = os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        try:
            with os.fdopen(handle, "wb") as file:
                for part in parts:
                    file.write(part)
                    digest.update(part)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}; free some space or choose another folder with --out"
        ) from error
    return digest.hexdigest()
