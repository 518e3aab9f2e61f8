"""A classifier on a local port, which can be told to misbehave."""

import base64
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
from PIL import Image


class Server(ThreadingHTTPServer):
    """What it was asked, and what it does instead of answering: a list of (status, headers), used up one by
    one; None answers.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[np.ndarray] = []
        self.requests: list[dict] = []
        self.headers: list[dict] = []
        self.trouble: list[tuple[int, dict] | None] = []
        self.dead = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/classify"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        self.server.headers.append(dict(self.headers))
        trouble = self.server.trouble.pop(0) if self.server.trouble else None
        if self.server.dead:
            self.close_connection = True
            return
        if trouble is not None:
            self._reply(trouble[0], {"error": "busy"}, trouble[1])
            return
        x = inputs_of(body)
        self.server.seen += list(x)
        scores = scores_of(x)
        self._reply(
            200,
            {
                "scores": scores.tolist(),
                "one": {
                    "scores": scores[0].tolist(),
                    "label": int(scores[0].argmax()),
                    "name": ["dark", "bright"][int(scores[0].argmax())],
                },
                "by name": [{"bright": float(b), "dark": float(a)} for a, b in scores],
                "text": "hello",
            },
            {},
        )

    def _reply(self, status: int, body: dict, headers: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            **headers,
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Nothing on the screen."""


def inputs_of(body: dict) -> np.ndarray:
    if "inputs" in body:
        return np.array(body["inputs"], dtype=np.float32)
    if "image" in body:
        return np.array([body["image"]], dtype=np.float32)
    picture = Image.open(io.BytesIO(base64.b64decode(body["png"].split(",")[-1])))
    values = np.asarray(picture, dtype=np.float32) / 255
    return values[None, None] if values.ndim == 2 else values.transpose(2, 0, 1)[None]


def scores_of(x: np.ndarray) -> np.ndarray:
    """Class 1 where the mean is above 0.5."""
    mean = x.reshape(len(x), -1).mean(1)
    return np.stack([np.full_like(mean, 0.5), mean], 1)


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
