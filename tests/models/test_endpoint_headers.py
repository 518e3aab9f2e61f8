"""An endpoint that never ends the headers of its response: it is hung up on when its time is over."""

import socket
from contextlib import contextmanager
from threading import Event, Thread

import numpy as np
import pytest
import torch

from quintain.core.errors import ExecutionError
from quintain.models import Endpoint, connect

HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BODY = b'{"scores": [[0.25, 0.75]]}'
WHOLE = HEADERS + f"Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY


class Server:
    """Answers each request by the next of some bytes, and keeps the connection open."""

    def __init__(self, responses):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        self.responses, self.asked, self.closed, self.half_sent = list(responses), 0, 0, Event()
        self.thread = Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with self.listener:
            while self.responses:
                line, _ = self.listener.accept()
                line.settimeout(5)
                with line:
                    self.answer(line)

    def answer(self, line):
        """Answer the requests of one connection; one that is not ended is waited for until it is closed."""
        while self.responses and self.request(line):
            response = self.responses.pop(0)
            line.sendall(response)
            if response != WHOLE:
                self.half_sent.set()
                self.closed += line.recv(1) == b""
                return

    def request(self, line):
        """Read a whole request; whether there was one."""
        head = b""
        while b"\r\n\r\n" not in head:
            part = line.recv(65536)
            if not part:
                return False
            head += part
        head, _, body = head.partition(b"\r\n\r\n")
        (length,) = [one.split(b":")[1] for one in head.lower().split(b"\r\n") if b"content-length" in one]
        while len(body) < int(length):
            body += line.recv(65536)
        self.asked += 1
        return True


def connected(server, *, retries):
    """The model behind a server; its timeout is over as soon as half of the headers were sent."""

    @contextmanager
    def after(seconds, function):
        ended = Event()

        def wait():
            server.half_sent.wait()
            if not ended.is_set():
                function()

        if seconds != 600:
            yield
            return
        thread = Thread(target=wait)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            server.half_sent.set()
            thread.join()
            server.half_sent.clear()

    endpoint = Endpoint(server.url, timeout=600, retries=retries, batch_size=1)
    return connect(endpoint, after=after, sleep=lambda _seconds: None)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_headers_that_never_end_have_until_the_timeout_and_no_longer():
    server = Server([HEADERS, HEADERS])
    with pytest.raises(
        ExecutionError,
        match=r"gives no answer after 2 tries \(ReadTimeout: no end of the headers of a response within "
        r"600 s\)",
    ):
        connected(server, retries=1)(torch.rand(1, 1, 2, 2))
    server.thread.join()
    assert (server.asked, server.closed) == (2, 2)


def test_a_connection_that_is_used_again_is_hung_up_on_too():
    server = Server([WHOLE, HEADERS, WHOLE])
    model = connected(server, retries=1)
    assert np.array_equal(model(torch.rand(2, 1, 2, 2)), [[0.25, 0.75]] * 2)
    server.thread.join()
    assert (server.asked, server.closed) == (3, 1)
