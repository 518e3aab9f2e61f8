"""Private runs that are killed at a point that is asked for, each in a process of its own, and gone on with. Run by ``test_resume``.

One process imports everything and forks: a child follows the plan until it kills itself where it is told to, the next one goes on.
"""

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from quintain.data import from_arrays
from quintain.dp import PrivatePlan, fit
from quintain.dp.accounting import ledger
from quintain.dp.step import noise, optimizer
from quintain.dp.training import resume

STEPS, EVERY = 5, 2
PLAN = PrivatePlan(1.5, 1.0, 12, STEPS, rate=0.3, momentum=0.5)
SECRET, OTHER = bytes(range(32)), bytes(32)


def net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 6), nn.Dropout(0.2), nn.Tanh(), nn.Linear(6, 2))


def data():
    y = np.arange(40) % 2
    return from_arrays(
        np.random.default_rng(1).uniform(0, 0.5, (40, 3, 3)).astype(np.float32) + 0.5 * y[:, None, None].astype(np.float32), y
    )


def train(folder: Path) -> dict[str, object]:
    """The run, from its start or from where it is; what came of it."""
    model, drawn, told = net(), [], []
    held = data()
    result = fit(
        model,
        held,
        PLAN,
        resume=resume.Unfinished(folder, every=EVERY),
        on_step=lambda step, update: drawn.append((step, hashlib.sha256(update.numpy().tobytes()).hexdigest())),
        on_checkpoint=lambda step, _spent: told.append(step),
    )
    weights = hashlib.sha256(b"".join(value.numpy().tobytes() for value in model.state_dict().values())).hexdigest()
    state = resume.Unfinished(folder)
    return {
        "weights": weights,
        "steps": result.steps,
        "clipped": result.clipped_share,
        "ledger": state.ledger["releases"],
        "drawn": drawn,
        "told": told,
        "left": sorted(path.name for path in folder.iterdir()),
    }


def gone_on(folder: Path) -> dict[str, object]:
    """The same, of a run whose key was written down: what the system would draw now is another one."""
    if (folder / resume.KEY).exists():
        resume.os.urandom = lambda count: OTHER[:count]
    return train(folder)


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
    "noised": (noise.Stream, "add_normal"),
    "stepped": (optimizer.DPOptimizer, "step"),
    "opened": (os, "open"),
    "half written": (os, "fdopen"),
    "written": (Path, "replace"),
    "renamed": (Path, "replace"),
    "key overwritten": (Path, "unlink"),
    "key removed": (Path, "unlink"),
}
"""The call at which each kill happens: after it, before it where it is in ``BEFORE``, or half way through what the file gets."""
BEFORE = {"written", "key overwritten"}


def plant(kill: str, number: int) -> None:
    """Make this process kill itself at the given point."""
    owner, name = POINTS[kill]
    call = half_written(number) if kill == "half written" else counted(getattr(owner, name), number, first=kill in BEFORE)
    setattr(owner, name, call)


def forked(work: Callable[[], dict[str, object]]) -> tuple[int, dict[str, object]]:
    """The signal that ended a child, 0 where none did, and what it found."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.close(ours)
        with os.fdopen(theirs, "w") as file:
            json.dump(work(), file)
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as file:
        text = file.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), json.loads(text) if text else {}


def counting(calls: dict[str, int]) -> None:
    """Count how often each point is passed at which a run can be killed."""

    def numbered(kill: str, call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*args: object, **words: object) -> object:
            calls[kill] = calls.get(kill, 0) + 1
            return call(*args, **words)

        return wrapped

    for kill, (owner, name) in POINTS.items():
        setattr(owner, name, numbered(kill, getattr(owner, name)))


def unbroken(folder: Path) -> dict[str, object]:
    """The run that nothing kills, and how often it passes each point."""
    calls: dict[str, int] = {}
    counting(calls)
    found = train(folder)
    return {"kill": "none", "found": found, "calls": calls}


def broken(kill: str, number: int, folder: Path) -> dict[str, object]:
    """What ended the killed run, and what came of the one that went on."""

    def killed() -> dict[str, object]:
        plant(kill, number)
        return train(folder)

    signalled, _ = forked(killed)
    state = resume.Unfinished(folder)
    code, found = forked(lambda: gone_on(folder))
    return {"kill": kill, "number": number, "signal": signalled, "from": state.steps, "code": code, "found": found}


def main(home: Path) -> None:
    """For each line that is read, "none 0" or a kill and its number, the run that is asked for, as a JSON line."""
    torch.set_num_threads(1)
    ledger.Ledger.epsilon = lambda *_args: 1.0
    resume.os.urandom = lambda count: SECRET[:count]
    train(home / "warm")  # so that no child has anything left to import
    for line in sys.stdin:
        kill, number = line.rsplit(maxsplit=1)
        folder = home / f"{kill}-{number}"
        run = forked(lambda folder=folder: unbroken(folder))[1] if kill == "none" else broken(kill, int(number), folder)
        sys.stdout.write(json.dumps(run) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
