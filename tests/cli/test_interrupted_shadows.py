"""``quintain leak`` that a signal ends while worker processes train its shadow models: none of them stays."""

import os
import select
import signal

import numpy as np
import pytest
import torch

from quintain.core.errors import ExitCode
from quintain.models.weights import save_weights

INT, KILL = int(signal.SIGINT), int(signal.SIGKILL)
MINUTES = 300
"""After which a worker that is still there is taken to stay for ever."""

NET = """
import os, signal, threading
import torch


def make(num_classes, seed=0, **_):
    torch.manual_seed(seed)
    return torch.nn.Linear(6, num_classes)


def train(net, data, seed):
    os.open("workers", os.O_WRONLY)  # stays open as long as this process lives
    number = int(os.environ["SIGNAL"])
    if number == signal.SIGKILL:
        os.kill(os.getppid(), number)
    else:
        os.killpg(0, number)  # as a terminal sends it: to all processes of the command
    threading.Event().wait()
"""

PROGRAM = """
import os

if __name__ == "__main__":  # workers import this, too
    os.setpgrp()
    os.cpu_count = lambda: 2
    from quintain.cli.main import run

    run()
"""


@pytest.fixture
def ended(ready, tmp_path):
    """Run ``quintain leak lira``, which gets a signal from its first shadow model."""
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 6), dtype=np.float32), rng.integers(0, 2, 40)
    np.savez(
        tmp_path / "v.npz", train_images=x[:20], train_labels=y[:20], test_images=x[20:], test_labels=y[20:]
    )
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "program.py").write_text(PROGRAM)
    save_weights(torch.nn.Linear(6, 2), tmp_path / "w.safetensors")

    def run(number):
        words = ("leak", "lira", "--model", "net.py:make", "--weights", "w.safetensors", "--data", "v.npz")
        given = ("--train", "net.py:train", "--shadows", 4, "--out", "r")
        return ready(tmp_path / "program.py", *words, *given, home=tmp_path, SIGNAL=str(number))

    return run


@pytest.fixture
def workers(tmp_path):
    """A pipe that worker processes hold open; its read end."""
    os.mkfifo(tmp_path / "workers")
    end = os.open(tmp_path / "workers", os.O_RDONLY | os.O_NONBLOCK)
    yield end
    os.close(end)


@pytest.mark.parametrize(("number", "code"), [(INT, ExitCode.INTERRUPTED), (KILL, -KILL)])
def test_no_worker_outlives_the_command(ended, workers, number, code):
    told = ended(number)
    assert told.code == code, told.err
    assert select.select([workers], [], [], MINUTES)[0], "a worker process is still there"
    assert os.read(workers, 1) == b""
    if number == INT:
        assert "Traceback" not in told.err
        (said,) = (line for line in told.err.splitlines() if "interrupted" in line)
        assert "to resume: quintain leak lira" in said
