"""A client as a daemon of its site: keys, data and secrets stay in its memory, bytes go by a Unix socket.

Flower starts a process for each message, as a user that need not reach the data; what it runs asks the daemon
(``flower.stub``). Only the daemon's own user may use the socket, or who it is given to by its folder.
"""

import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from quintain.core.errors import ProtocolError, StorageError
from quintain.federated.streams import StreamTransport, serve
from quintain.federated.transport import Deadlines

SOCKET_MODE = 0o600
PATIENCE = 30.0
"""Seconds that a connection may be silent: the stub sends its one message at once."""


def listen(path: Path) -> socket.socket:
    """Return a listening Unix socket with mode 0600; one that a daemon has left behind is replaced.

    Raises:
        StorageError: If another daemon listens there, or the place cannot be used.
    """
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            if _is_answered(path):
                raise StorageError(f"another daemon listens at {path}; stop it, or choose another place")
            path.unlink()
        one = socket.socket(socket.AF_UNIX)
        # nobody else may connect at any time: the mode is set by the bind itself
        before = os.umask(0o777 & ~SOCKET_MODE)
        try:
            one.bind(str(path))
        finally:
            os.umask(before)
        one.listen()
    except OSError as error:
        raise StorageError(f"cannot listen at {path}: {error.strerror or error}; check the folder") from error
    return one


def serve_daemon(handle: Callable[[bytes], bytes], listening: socket.socket) -> None:
    """Serve one connection after the other, until the socket is shut down; a silent one is hung up.

    Args:
        handle: ``Client.handle``; whatever it raises is logged here, and the other end gets an empty reply.
        listening: As ``listen`` makes it.
    """
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection, suppress(ProtocolError):
            serve(handle, connection, patience=PATIENCE)


def ask(path: Path, message: bytes, seconds: float) -> bytes | None:
    """Return a daemon's reply to one message; None if it has none, or none in time.

    Args:
        path: The daemon's socket.
        message: What a server sends.
        seconds: How long to wait.

    Raises:
        OSError: If no daemon listens there.
    """
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(str(path))
        transport = StreamTransport({0: one}, Deadlines(stage=seconds))
        return transport.exchange({0: message}).get(0)


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as one:
        return one.connect_ex(str(path)) == 0
