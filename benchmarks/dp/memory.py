"""Peak memory of plain and private steps, each in a process of its own; Linux only, which tells what a
process owns.
"""

import os
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.dp.nets import TASKS
from benchmarks.harness import Comparison

STEPS = 4
LOOSE = {"MALLOC_MMAP_THRESHOLD_": "65536"}
"""Memory that is given back at once, so that what a process owns is what is in use."""
PROGRAM = """
import sys, warnings
from dataclasses import replace
from pathlib import Path
import torch
from benchmarks.dp import steps
from benchmarks.dp.nets import TASKS
warnings.simplefilter("ignore")
torch.set_num_threads(1)

def told(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])

def peak(count):
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(count):
        step()
    return (told("VmHWM") - before) / 1024

task, contestant = TASKS[int(sys.argv[1])], getattr(steps, sys.argv[2])
contestant(replace(task, size=2))()
step = contestant(task)
before = told("VmRSS")
print(peak(1), peak(int(sys.argv[3])))
"""


def peaks(task: int, kind: str) -> tuple[float, float]:
    """Megabytes that the first step needs at most, and further ones, beside the net and the data."""
    command = [sys.executable, "-c", PROGRAM, str(task), kind, str(STEPS)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **LOOSE})
    first, later = (float(number) for number in told.stdout.split()[-2:])
    return first, later


def run() -> Iterator[Comparison]:
    """Task by task, on one thread; the first private step is probed."""
    for number, task in enumerate(TASKS):
        (plain_first, plain), (first, ours) = peaks(number, "plain"), peaks(number, "ours")
        yield Comparison(
            task.name,
            f"plain {plain:.0f} MB, private {ours:.0f} MB: {ours / plain:.2f} times; first step "
            f"{plain_first:.0f} MB and {first:.0f} MB",
        )
