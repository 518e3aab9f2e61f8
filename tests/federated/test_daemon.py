"""A client behind a Unix socket: bytes in, bytes out, and its failures are silence."""

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from quintain.core.errors import StorageError
from quintain.federated.daemon import ask, listen, serve_daemon
from quintain.federated.streams import serve

SECONDS = 60.0
NOBODY = 65534


@pytest.fixture
def daemon(tmp_path):
    """Start a daemon around a function; it ends with the test."""
    listening = []

    def start(handle):
        listening.append(listen(tmp_path / "socket"))
        thread = threading.Thread(target=serve_daemon, args=(handle, listening[-1]), daemon=True)
        thread.start()
        return tmp_path / "socket"

    yield start
    for one in listening:
        one.shutdown(2)
        one.close()


def test_messages_come_back_one_connection_after_the_other_and_large_ones_whole(daemon):
    path = daemon(lambda message: message[::-1])
    assert ask(path, b"abc", SECONDS) == b"cba"
    large = bytes(range(256)) * 20_000
    assert ask(path, large, SECONDS) == large[::-1]


def test_only_the_owner_may_use_the_socket(daemon):
    assert daemon(lambda message: message).stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give a file to another user")
@pytest.mark.parametrize("owner", [0, NOBODY], ids=["own", "given"])
def test_another_user_reaches_the_daemon_if_its_socket_was_given_to_it_and_the_data_never(
    daemon, tmp_path, owner
):
    os.chown(daemon(lambda message: message[::-1]), owner, owner)
    tmp_path.chmod(0o711)
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "xrays").write_bytes(b"patients")
    child = os.fork()
    if child == 0:
        code = 0
        try:
            os.chdir(tmp_path)
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            for bit, reads in (
                (1, lambda: ask(Path("socket"), b"abc", SECONDS) == b"cba"),
                (2, lambda: Path("data/xrays").read_bytes()),
            ):
                with suppress(PermissionError):
                    code |= bit if reads() else 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (1 if owner == NOBODY else 0)


def test_whatever_a_client_raises_is_the_same_silence_and_the_daemon_goes_on(daemon):
    def handle(message):
        if message != b"good":
            raise {b"a": ValueError, b"b": StorageError}[message]("patient 17")
        return b"fine"

    path = daemon(handle)
    assert [ask(path, message, SECONDS) for message in (b"a", b"b", b"good")] == [None, None, b"fine"]


def test_a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not(daemon, tmp_path):
    listen(tmp_path / "socket").close()
    path = daemon(lambda message: message)
    assert ask(path, b"x", SECONDS) == b"x"
    with pytest.raises(StorageError, match="another daemon listens"):
        listen(path)
    (tmp_path / "file").write_text("kept")
    with pytest.raises(StorageError, match="cannot listen"):
        listen(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"
    with pytest.raises(OSError, match=r"No such file"):
        ask(tmp_path / "nobody", b"x", SECONDS)


class Wire:
    """A connection of which bytes come one at a time, each a second after the last; then nothing.

    Args:
        data: The bytes.
    """

    def __init__(self, data):
        self.data, self.now, self.sent, self.timeout = data, 0.0, b"", None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def settimeout(self, seconds):
        self.timeout = seconds

    def recv(self, size):
        if not self.data:
            assert self.timeout is not None, "nothing comes, and this waits for ever"
            raise TimeoutError
        if self.timeout is not None and self.timeout < 1.0:
            raise TimeoutError
        self.now += 1.0
        first, self.data = self.data[:1], self.data[1:]
        return first

    def sendall(self, data):
        assert self.timeout is not None
        self.sent += data


class Knocking:
    """A listening socket on which given connections come, and then it is shut down."""

    def __init__(self, *wires):
        self.wires = list(wires)

    def accept(self):
        if not self.wires:
            raise OSError
        return self.wires.pop(0), None


def frame(number, message):
    return number.to_bytes(8, "big") + len(message).to_bytes(8, "big") + message


def test_a_connection_that_falls_silent_does_not_keep_a_daemon_from_the_next_one():
    silent, cut, good = Wire(b""), Wire(frame(1, b"abc")[:-1]), Wire(frame(2, b"abc"))
    serve_daemon(lambda message: message[::-1], Knocking(silent, cut, good))
    assert (silent.sent, cut.sent, good.sent) == (b"", b"", frame(2, b"cba"))


@pytest.mark.parametrize(("patience", "answered"), [(19.5, True), (18.5, False)])
def test_a_message_that_comes_byte_by_byte_must_be_whole_in_time(patience, answered):
    wire = Wire(frame(1, b"abc"))
    serve(lambda message: message, wire, patience=patience, clock=lambda: wire.now)
    assert wire.sent == (frame(1, b"abc") if answered else b"")
