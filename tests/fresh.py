"""Runs programs, each as ``python PROGRAM`` does, in forks of one process that has imported what costs
seconds: PyTorch and SciPy.

Nothing of Quintain is imported before the fork, unless its packages are named: a program has to import what
it uses.
"""

import gc
import importlib
import json
import os
import pkgutil
import runpy
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Told(NamedTuple):
    """How a program ended, negative if by a signal, and what it said."""

    code: int
    out: str
    err: str


class Fresh:
    """The process, from a test's side; to be closed.

    Args:
        place: Where what is said is kept.
        packages: What is imported whole before the fork as well.
    """

    def __init__(self, place: Path, *packages: str) -> None:
        self.place, self.count = place, 0
        self._process = subprocess.Popen(
            [sys.executable, __file__, *packages], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, *words: object, home: Path, **variables: str) -> Told:
        """Run a program with its arguments, in the folder ``home``, with these variables."""
        (told,) = self._told([dict(variables)], [words], home)
        return told

    def together(self, *calls: Sequence[object], home: Path) -> list[Told]:
        """Run programs, each with its arguments, at the same time."""
        return self._told([{} for _ in calls], calls, home)

    def quintain(self, *words: object, home: Path, **variables: str) -> Told:
        """Run the command line in the folder ``home``."""
        program = self.place / "command.py"
        program.write_text("from quintain.cli.main import run\n\nrun()\n")
        return self(program, *words, home=home, **variables)

    def team(self, size: int, *words: object, home: Path) -> list[Told]:
        """Run a program in as many processes at once, each told of the others as ``torchrun`` tells it, with
        its store.
        """
        from torch.distributed import TCPStore

        store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
        shared = {
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": store.port,
            "WORLD_SIZE": size,
            "LOCAL_WORLD_SIZE": size,
            "TORCHELASTIC_USE_AGENT_STORE": True,
        }
        ranks = [{**shared, "RANK": rank, "LOCAL_RANK": rank} for rank in range(size)]
        return self._told(ranks, [words] * size, home)

    def _told(
        self, settings: Sequence[dict[str, object]], programs: Sequence[Sequence[object]], home: Path
    ) -> list[Told]:
        """One process for each program and its variables, all at the same time."""
        calls, files = [], []
        for variables, words in zip(settings, programs, strict=True):
            self.count += 1
            files.append([self.place / f"{self.count}.{name}" for name in ("out", "err")])
            named = {name: str(value) for name, value in variables.items()}
            calls.append([[str(word) for word in words], str(home), *map(str, files[-1]), named])
        self._process.stdin.write(json.dumps(calls) + "\n")
        self._process.stdin.flush()
        codes = json.loads(self._process.stdout.readline())
        return [
            Told(code, out.read_text(), err.read_text())
            for code, (out, err) in zip(codes, files, strict=True)
        ]

    def close(self) -> None:
        """Let the process end."""
        self._process.communicate()
        assert self._process.returncode == 0


def _begun(call: list[Any]) -> int:
    """The fork that runs one program."""
    child = os.fork()
    if not child:
        os._exit(_run(*call))
    return child


def _run(words: list[str], home: str, out: str, err: str, variables: dict[str, str]) -> int:
    """One program, in this process; its exit code."""
    os.environ.update(variables)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream, name in ((1, out), (2, err)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(home)
    sys.argv, sys.path[0] = words, str(Path(words[0]).parent)
    code = 0
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def main() -> None:
    """A fork for each call of a line, until there are no more lines."""
    import dp_accounting.pld  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch._dynamo  # noqa: F401  (the first optimizer imports it)

    for package in map(importlib.import_module, sys.argv[1:]):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    gc.freeze()
    for line in sys.stdin:
        begun = [_begun(call) for call in json.loads(line)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in begun]
        sys.stdout.write(json.dumps(codes) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
