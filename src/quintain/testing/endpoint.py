"""A fake endpoint: a classifier behind an address of this machine, which can be told to misbehave."""

import base64
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.float32]


class FakeEndpoint(ThreadingHTTPServer):
    """A server on a free local port that classifies by brightness: class 1 where the mean is above 0.5.

    It reads images under ``inputs`` (a batch), ``image`` (one) or ``png`` (base64), and answers with
    ``scores``, ``one`` (scores, label and name of the first), ``by name`` and ``text``.

    Attributes:
        images: The images that it classified, in order.
        requests: The bodies that it was sent.
        request_headers: The headers of each.
        failures: What it does to the next requests, first in, first out: a status with headers, or None to
            answer.
        is_dead: Whether it drops every connection.
        hangs_after: After how many requests it takes each one and answers none, until ``released``; never if
            None.
        hanging: Set when such a request has come.
        released: Set it to let these requests be answered.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.images: list[Pixels] = []
        self.requests: list[dict[str, Any]] = []
        self.request_headers: list[dict[str, str]] = []
        self.failures: list[tuple[int, Mapping[str, str]] | None] = []
        self.is_dead = False
        self.hangs_after: int | None = None
        self.hanging, self.released = Event(), Event()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}/classify"


@contextmanager
def running_endpoint() -> Iterator[FakeEndpoint]:
    """Run a fake endpoint in a thread of this process, and close it in the end."""
    server = FakeEndpoint()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def brightness_scores(x: Pixels) -> Pixels:
    """Return the scores (B, 2) that the fake endpoint gives images (B, C, H, W): 0.5, and their mean."""
    mean = x.reshape(len(x), -1).mean(1)
    return np.stack([np.full_like(mean, 0.5), mean], 1)


class _Handler(BaseHTTPRequestHandler):
    """Answers a request as the server says."""

    server: FakeEndpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        self.server.request_headers.append(dict(self.headers))
        if self.server.hangs_after is not None and len(self.server.requests) > self.server.hangs_after:
            self.server.hanging.set()
            self.server.released.wait()
        failure = self.server.failures.pop(0) if self.server.failures else None
        if self.server.is_dead:
            self.close_connection = True
            return
        if failure is not None:
            self._reply(failure[0], {"error": "busy"}, failure[1])
            return
        x = _images_of(body)
        self.server.images += list(x)
        self._reply(200, _answers(brightness_scores(x)), {})

    def _reply(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        data = json.dumps(body).encode()
        with suppress(BrokenPipeError, ConnectionResetError):  # the client may have given up
            self._send(status, data, headers)

    def _send(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        own = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        for name, value in {**headers, **own}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Write nothing to the screen."""


def _answers(scores: Pixels) -> dict[str, Any]:
    """The scores in each of the forms that an endpoint may give them in."""
    label = int(scores[0].argmax())
    return {
        "scores": scores.tolist(),
        "one": {"scores": scores[0].tolist(), "label": label, "name": ["dark", "bright"][label]},
        "by name": [{"bright": float(bright), "dark": float(dark)} for dark, bright in scores],
        "text": "hello",
    }


def _images_of(body: Mapping[str, Any]) -> Pixels:
    """The images (B, C, H, W) of a request."""
    if "inputs" in body:
        return np.array(body["inputs"], dtype=np.float32)
    if "image" in body:
        return np.array([body["image"]], dtype=np.float32)
    picture = Image.open(io.BytesIO(base64.b64decode(body["png"].split(",")[-1])))
    values: Pixels = np.asarray(picture, dtype=np.float32) / np.float32(255)
    return values[None, None] if values.ndim == 2 else values.transpose(2, 0, 1)[None]
