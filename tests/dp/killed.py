"""Private runs that are killed at one point after another, each in a process of its own, and gone on with. Run by ``test_resume``.

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
KILLS = ("recorded", "noised", "stepped", "opened", "half written", "written", "renamed", "key overwritten", "key removed")


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


def plant(kill: str, number: int) -> None:
    """Make this process kill itself at the given point."""
    match kill:
        case "recorded":
            ledger.Ledger.record = counted(ledger.Ledger.record, number)
        case "noised":
            noise.Stream.add_normal = counted(noise.Stream.add_normal, number)
        case "stepped":
            optimizer.DPOptimizer.step = counted(optimizer.DPOptimizer.step, number)
        case "opened":
            os.open = counted(os.open, number)
        case "half written":
            os.fdopen = half_written(number)
        case "written":
            Path.replace = counted(Path.replace, number, first=True)
        case "renamed":
            Path.replace = counted(Path.replace, number)
        case "key overwritten":
            Path.unlink = counted(Path.unlink, number, first=True)
        case "key removed":
            Path.unlink = counted(Path.unlink, number)


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


def main(home: Path) -> None:
    """Every kill, until there is nothing more to kill at; as JSON lines."""
    torch.set_num_threads(1)
    ledger.Ledger.epsilon = lambda *_args: 1.0
    resume.os.urandom = lambda count: SECRET[:count]
    train(home / "warm")  # so that no child has anything left to import
    for kill in ("none", *KILLS):
        for number in range(1, 100):
            folder = home / f"{kill}-{number}"

            def killed(kill: str = kill, number: int = number, folder: Path = folder) -> dict[str, object]:
                plant(kill, number)
                return train(folder)

            signalled, found = forked(killed)
            if kill == "none":
                sys.stdout.write(json.dumps({"kill": kill, "found": found}) + "\n")
                break
            if signalled != -signal.SIGKILL:
                break
            state = resume.Unfinished(folder)
            code, found = forked(lambda folder=folder: gone_on(folder))
            sys.stdout.write(
                json.dumps({"kill": kill, "number": number, "signal": signalled, "from": state.steps, "code": code, "found": found}) + "\n"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
