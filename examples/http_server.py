"""A classifier of X-rays behind an address: POST {"inputs": [image, ...]} is answered {"scores": [[normal,
pneumonia], ...]}.

It serves until Ctrl-C. Ask it from another terminal:

    quintain attack --model http://127.0.0.1:8000/ --data xrays --limit 10 --threat linf:0.1 --max-queries 500
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import torch

import quintain as q


class Classify(BaseHTTPRequestHandler):
    """Scores by the distance to the mean image of each class."""

    def do_POST(self) -> None:
        """Answer one batch."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        x = np.array(asked["inputs"], dtype=np.float32).reshape(len(asked["inputs"]), -1)
        distance = ((x[:, None] - self.server.means) ** 2).mean(2)
        reply = json.dumps({"scores": (-distance).tolist()}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)
        self.server.answered += len(x)

    def log_message(self, *args: object) -> None:
        """Nothing on the screen."""


def server(port: int) -> ThreadingHTTPServer:
    """A server on this machine alone; port 0 takes any that is free."""
    train = q.load_data("xrays").split("train")
    x, y = train.batch(torch.arange(1000))
    serving = ThreadingHTTPServer(("127.0.0.1", port), Classify)
    serving.means = torch.stack([x[y == label].flatten(1).mean(0) for label in (0, 1)]).numpy()
    serving.answered = 0
    return serving


if __name__ == "__main__":
    with server(8000) as serving:
        print(f"answering on http://127.0.0.1:{serving.server_port}/, Ctrl-C ends")
        serving.serve_forever()
