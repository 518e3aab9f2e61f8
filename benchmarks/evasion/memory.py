"""Measure the peak memory of an attack on data sets of two sizes, each in its own process (Linux only)."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.harness import Comparison

SIZES = (2_000, 16_000)
PROGRAM = """
import sys, threading
from pathlib import Path
import quintain as q
from quintain.evaluate.evasion.attacks import run_attacks
from quintain.evaluate.model import named_model
from quintain.models import initialize, xray_cnn
net = xray_cnn(num_classes=10, channels=3, size=32)
initialize(net, seed=0)
data = q.load_data(sys.argv[1]).split("test")
peak, finished = [0], threading.Event()

def watch():
    while not finished.wait(0.01):
        lines = Path("/proc/self/status").read_text().splitlines()
        peak[0] = max(peak[0], int(next(line for line in lines if line.startswith("RssAnon")).split()[1]))

watcher = threading.Thread(target=watch)
watcher.start()
run_attacks(
    named_model(q.Classifier(net.eval()), "net", "net"),
    data,
    [q.Linf(1 / 255)],
    {"pgd": q.attacks.PGD(steps=2)},
)
finished.set()
watcher.join()
print(peak[0])
"""


def run() -> Iterator[Comparison]:
    """Measure; the images lie in an uncompressed file, whose cache by the system is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        peaks = []
        for size in SIZES:
            file = Path(folder) / f"{size}.npz"
            images = np.random.default_rng(0).integers(0, 256, (size, 32, 32, 3), dtype=np.uint8)
            np.savez(file, test_images=images, test_labels=np.arange(size) % 10)
            finished = subprocess.run(
                [sys.executable, "-c", PROGRAM, str(file)], capture_output=True, text=True, check=True
            )
            peaks.append(int(finished.stdout.split()[-1]) / 1024)
        text = ", ".join(f"{size} images {peak:.0f} MB" for size, peak in zip(SIZES, peaks, strict=True))
        yield Comparison("Peak memory of an attack", text)
