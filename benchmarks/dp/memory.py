"""Measure the peak memory of plain and private steps, each in its own process (Linux only)."""

import os
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.dp.nets import TASKS
from benchmarks.harness import Comparison

STEPS = 4
RETURN_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536"}
"""Freed memory goes back to the system at once, so that what a process owns is what it uses."""
PROGRAM = """
import sys, warnings
from dataclasses import replace
from pathlib import Path
import torch
from benchmarks.dp import steps
from benchmarks.dp.nets import TASKS
warnings.simplefilter("ignore")
torch.set_num_threads(1)

def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])

def peak(count):
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(count):
        step()
    return (status("VmHWM") - before) / 1024

task, build = TASKS[int(sys.argv[1])], getattr(steps, sys.argv[2])
build(replace(task, size=2))()
step = build(task)
before = status("VmRSS")
print(peak(1), peak(int(sys.argv[3])))
"""


def peaks(task: int, kind: str) -> tuple[float, float]:
    """Return the peak megabytes of the first step and of later ones, beside net and data."""
    command = [sys.executable, "-c", PROGRAM, str(task), kind, str(STEPS)]
    finished = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, **RETURN_MEMORY}
    )
    first, later = (float(number) for number in finished.stdout.split()[-2:])
    return first, later


def run() -> Iterator[Comparison]:
    """Measure each task on one thread; the first private step is checked in full."""
    for number, task in enumerate(TASKS):
        (plain_first, plain), (first, ours) = peaks(number, "plain"), peaks(number, "ours")
        yield Comparison(
            task.name,
            f"plain {plain:.0f} MB, private {ours:.0f} MB: {ours / plain:.2f} times; first step "
            f"{plain_first:.0f} MB and {first:.0f} MB",
        )
