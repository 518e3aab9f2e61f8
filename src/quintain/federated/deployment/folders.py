"""The folders of a site's daemon and of a server: nobody else's, and one program's at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quintain.core.errors import SettingError, StorageError
from quintain.federated.enrollment import FORBIDDEN_MODE

LOCK_FILE = "daemon.lock"
MAY_WRITE = 0o022
"""What nobody but the owner may do with a folder whose content is no secret."""


def private_folder(path: Path, *, forbidden: int = FORBIDDEN_MODE) -> Path:
    """Return a folder that is the owner's alone; it is made if need be.

    Args:
        path: Where.
        forbidden: Mode bits that it must not have.

    Raises:
        SettingError: If it has some of them.
        StorageError: If it cannot be made, or used.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        raise StorageError(f"cannot make the folder {path}: {error.strerror}") from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise StorageError(
            f"the folder {path} is another user's; expected one of who runs this: run it as the user who "
            "runs the daemon or the server, whose folders they are (chown -R)"
        )
    if mode & forbidden:
        raise SettingError(
            f"the folder {path} has mode {mode:04o}; expected 0700, so that nobody else can change what this "
            f"site keeps or read it: chmod 700 {path}"
        )
    return path


@contextmanager
def lock_folder(path: Path) -> Iterator[None]:
    """Lock a folder against other daemons and servers while this process uses it.

    Raises:
        StorageError: If another one uses it, or a file cannot be made in it.
    """
    try:
        handle = os.open(path / LOCK_FILE, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise StorageError(f"cannot use the folder {path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StorageError(
                f"another daemon or server uses the folder {path}; expected one at a time: stop it first"
            ) from error
        yield
    finally:
        os.close(handle)
