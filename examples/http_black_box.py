"""Attack a model of which nothing is known but its address, twice: the second time every answer is known
already.
"""

import tempfile
import threading
from pathlib import Path

import torch
from http_server import server

import quintain as q
from quintain.models import Endpoint, connect


def main() -> None:
    """Serve a classifier on this machine, and break it with 100 queries per X-ray."""
    x, y = q.load_data("xrays").split("test").batch(torch.arange(10))
    with server(0) as serving, tempfile.TemporaryDirectory() as folder:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        endpoint = Endpoint(
            f"http://127.0.0.1:{serving.server_port}/",
            cache=Path(folder) / "answers.sqlite",
            query_budget=1000,
        )
        attack = q.attacks.RayS(queries=100)
        for run in ("first", "second"):
            before = serving.answered
            outcome = attack(connect(endpoint, num_classes=2), x, y, q.Linf(0.1))
            print(
                f"{run} run: {outcome.success.sum()} of {len(x)} broken in {serving.answered - before} "
                "queries to the server"
            )
        serving.shutdown()


if __name__ == "__main__":
    main()
