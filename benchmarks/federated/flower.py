"""A client of a secure sum beside one of Flower's SecAgg+ (its legacy API, flwr 1.42), in turn.

Flower needs an environment of its own: name its interpreter in ``FLOWER_PYTHON``. Its client also clips and
rounds its vector, so ours is given with that, too. It checks no signatures, since there are none.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.federated.clients import LENGTH, client_seconds
from benchmarks.harness import Comparison
from quintain.federated.secagg import masks
from quintain.federated.secagg.encoding import WORD_DTYPE, finest_encoding


def run() -> Iterator[Comparison]:
    """Eight clients of either."""
    python = os.environ.get("FLOWER_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import flwr"], capture_output=True, check=False).returncode:
        yield Comparison("Flower's SecAgg+", "not run: name an interpreter with flwr 1.42 in FLOWER_PYTHON")
        return
    for num_sites in (8,):
        ours, encodings, peers = [], [], []
        for _ in range(3):
            ours.append(float(np.median(client_seconds(num_sites).sum(1))) * 1e3)
            encodings.append(_encoding_ms(num_sites))
            peers.append(_flower(python, num_sites))
        mine, coding = statistics.median(ours), statistics.median(encodings)
        theirs, mask = (statistics.median(one[what] for one in peers) for what in ("client", "mask"))
        yield Comparison(
            f"client, {num_sites} sites, {LENGTH:,} parameters",
            f"ours {mine:.1f} ms and {coding:.1f} of encoding, Flower's {theirs:.1f} ms: "
            f"{theirs / (mine + coding):.1f} times; one mask {_mask_ms():.2f} and {mask:.1f} ms; "
            f"4 and {peers[0]['bytes']:.0f} bytes a parameter",
        )


def _flower(python: str, num_sites: int) -> dict[str, float]:
    script = Path(__file__).with_name("flower_clients.py")
    done = subprocess.run(
        [python, str(script), str(num_sites), str(LENGTH)], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _encoding_ms(num_sites: int) -> float:
    encoding = finest_encoding(LENGTH, 1.0, num_sites)
    vector = np.random.default_rng(0).uniform(-1, 1, LENGTH)
    clock = time.process_time()
    encoding.quantize(vector)
    return (time.process_time() - clock) * 1e3


def _mask_ms() -> float:
    vector, times = np.zeros(LENGTH, WORD_DTYPE), []
    for _ in range(9):
        clock = time.process_time()
        masks.add_stream(vector, bytes(32))
        times.append(time.process_time() - clock)
    return statistics.median(times) * 1e3
