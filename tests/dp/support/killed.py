"""A private run that kills its process at a point that is asked for, and one that goes on with it.
``test_resume`` forks for each.
"""

import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from quintain.data import from_arrays
from quintain.dp import PrivatePlan, fit
from quintain.dp.accounting import ledger
from quintain.dp.randomness import stream
from quintain.dp.step.optimizer import PrivateOptimizer
from quintain.dp.training import resume

STEPS, EVERY = 5, 2
PLAN = PrivatePlan(1.5, 1.0, 12, STEPS, learning_rate=0.3, momentum=0.5)
SECRET, OTHER = bytes(range(32)), bytes(32)


def net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 6), nn.Dropout(0.2), nn.Tanh(), nn.Linear(6, 2))


def data():
    y = np.arange(40) % 2
    return from_arrays(
        np.random.default_rng(1).uniform(0, 0.5, (40, 3, 3)).astype(np.float32)
        + 0.5 * y[:, None, None].astype(np.float32),
        y,
    )


def train(folder: Path) -> dict[str, object]:
    """The run, from its start or from where it is; what came of it."""
    model, drawn, told = net(), [], []
    held = data()
    result = fit(
        model,
        held,
        PLAN,
        resume=resume.ResumableRun(folder, every=EVERY),
        on_step=lambda step, update: drawn.append(
            (step, hashlib.sha256(update.numpy().tobytes()).hexdigest())
        ),
        on_checkpoint=lambda step, _spent: told.append(step),
    )
    weights = hashlib.sha256(
        b"".join(value.numpy().tobytes() for value in model.state_dict().values())
    ).hexdigest()
    state = resume.ResumableRun(folder)
    return {
        "weights": weights,
        "steps": result.steps,
        "clipped": result.clipped_fraction,
        "ledger": state.ledger["releases"],
        "drawn": drawn,
        "told": told,
        "left": sorted(path.name for path in folder.iterdir()),
    }


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def counted(call: Callable[..., object], number: int, *, first: bool = False) -> Callable[..., object]:
    """A function that kills the process at its call of this number, before it or after it."""
    calls = 0

    def wrapped(*args: object, **words: object) -> object:
        nonlocal calls
        calls += 1
        if calls == number and first:
            die()
        result = call(*args, **words)
        if calls == number:
            die()
        return result

    return wrapped


def half_written(number: int) -> Callable[..., object]:
    """Files of which the one of this number gets half of what is written, and then the process is killed."""
    opened, calls = os.fdopen, 0

    def open_half(handle: int, *args: object) -> object:
        nonlocal calls
        calls += 1
        file = opened(handle, *args)
        if calls != number:
            return file

        class Half:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                return False

            def write(self, content: bytes) -> None:
                file.write(content[: len(content) // 2])
                file.flush()
                die()

        return Half()

    return open_half


POINTS = {
    "recorded": (ledger.Ledger, "record"),
    "noised": (stream.RandomStream, "add_gaussian"),
    "stepped": (PrivateOptimizer, "step"),
    "opened": (os, "open"),
    "half written": (os, "fdopen"),
    "written": (Path, "replace"),
    "renamed": (Path, "replace"),
    "key overwritten": (Path, "unlink"),
    "key removed": (Path, "unlink"),
}
"""The call at which each kill happens: after it, before it where it is in ``BEFORE``, or half way through
what the file gets.
"""
BEFORE = {"written", "key overwritten"}


def plant(kill: str, number: int) -> None:
    """Make this process kill itself at the given point."""
    owner, name = POINTS[kill]
    call = (
        half_written(number)
        if kill == "half written"
        else counted(getattr(owner, name), number, first=kill in BEFORE)
    )
    setattr(owner, name, call)


def counting(calls: dict[str, int]) -> None:
    """Count how often each point is passed at which a run can be killed."""

    def numbered(kill: str, call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*args: object, **words: object) -> object:
            calls[kill] += 1
            return call(*args, **words)

        return wrapped

    for kill, (owner, name) in POINTS.items():
        setattr(owner, name, numbered(kill, getattr(owner, name)))


def _repeatable() -> None:
    """The system's random numbers are these from now on, and nothing is worked out that the run is not
    about.
    """
    torch.set_num_threads(1)
    ledger.Ledger.epsilon = lambda *_args: 1.0
    resume.os.urandom = lambda count: SECRET[:count]


def unbroken(folder: str) -> dict[str, object]:
    """The run that nothing kills, and how often it passes each point."""
    _repeatable()
    calls = dict.fromkeys(POINTS, 0)
    counting(calls)
    return {**train(Path(folder)), "calls": calls}


def broken(folder: str, kill: str, number: int) -> dict[str, object]:
    """The run, killed."""
    _repeatable()
    plant(kill, number)
    return train(Path(folder))


def gone_on(folder: str) -> dict[str, object]:
    """The run from where it was killed; if its key was written down, what the system would draw now is
    another one.
    """
    _repeatable()
    begun = resume.ResumableRun(Path(folder)).steps
    if (Path(folder) / resume.KEY_FILE).exists():
        resume.os.urandom = lambda count: OTHER[:count]
    return {**train(Path(folder)), "from": begun}
