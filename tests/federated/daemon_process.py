"""The command line in a process of its own, forked from one that has imported what costs seconds."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import IO

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "torch._dynamo",
        "quintain.cli.main",
        "quintain.federated.deployment.approval",
        "quintain.federated.deployment.site_daemon",
        "quintain.models.nets",
    ]
)


def _run(words: list[str], home: Path, out: Path) -> None:
    """One command in the folder ``home``, whose standard output and standard error are a pipe."""
    pipe = os.open(out, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(pipe, stream)
    os.close(pipe)
    os.chdir(home)
    os.environ["COLUMNS"] = "1000"
    sys.argv = ["quintain", *words]
    from quintain.cli.main import run

    run()


class Command:
    """A command that runs.

    Args:
        words: Its arguments.
        home: The folder that it runs in.

    Attributes:
        said: The lines that were read of what it prints.
    """

    def __init__(self, *words: str, home: Path) -> None:
        pipe = home / f"out-{os.urandom(4).hex()}"
        os.mkfifo(pipe)
        self.process = CONTEXT.Process(target=_run, args=(list(words), home, pipe), daemon=True)
        self.process.start()
        self.said: list[str] = []
        self._out: IO[str] = pipe.open()

    def wait_for(self, text: str) -> "Command":
        """Read what it prints up to a line with this text.

        Raises:
            AssertionError: If it ends before.
        """
        for line in self._out:
            self.said.append(line)
            if text in line:
                return self
        raise AssertionError(f"no {text!r} in {''.join(self.said)}")

    def end(self) -> int | None:
        """Read the rest of what it prints, and return its exit code."""
        self.said += self._out
        self._out.close()
        self.process.join()
        return self.process.exitcode

    def kill(self) -> int | None:
        """End it at once, as a power failure does."""
        self.process.kill()
        return self.end()

    def signal(self, number: int) -> int | None:
        """Send it a signal, and return its exit code."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)
        return self.end()


@contextmanager
def daemon(home: Path) -> Iterator[Command]:
    """A daemon that is ready, in its site's folder; it does not outlive the block."""
    command = Command("client", "--config", "client.toml", home=home)
    try:
        yield command.wait_for("ready at")
    finally:
        if command.process.is_alive():
            command.kill()
