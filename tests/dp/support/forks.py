"""A process that has imported everything, and runs functions in forks of itself: so no test waits for imports
twice.

No noise is drawn in it, and no gradient taken, before it forks.
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[3]
Ended = tuple[int, Any]
"""How a fork ended, negative if by a signal, and what its function returned, as JSON has it."""


class Forks:
    """The process, from a test's side; to be closed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.dp.support.forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def run(self, *calls: tuple[str, str, list[Any]]) -> list[Ended]:
        """Call functions, each told by its module, its name and its arguments, in forks that run at the same
        time.
        """
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(calls) + "\n")
        self._process.stdin.flush()
        return [(code, found) for code, found in json.loads(self._process.stdout.readline())]

    def close(self) -> None:
        """Let the process end."""
        self._process.communicate()
        assert self._process.returncode == 0


def _begun(module: str, name: str, arguments: list[Any]) -> tuple[int, int]:
    """The fork, and where it writes what the function returns."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child:
        os.close(theirs)
        return child, ours
    code = 1
    try:
        os.close(ours)
        os.dup2(2, 1)  # what is printed is no answer
        found = getattr(importlib.import_module(module), name)(*arguments)
        with open(theirs, "w") as file:
            json.dump(found, file)
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _ended(child: int, ours: int) -> Ended:
    with open(ours) as file:
        text = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, json.loads(text) if code == 0 else None


def main() -> None:
    """Serve until nothing more is asked for."""
    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)  # which imports more than torch itself
    for module in ("tests.dp.support.killed", "tests.dp.support.together"):
        importlib.import_module(module)
    for line in sys.stdin:
        begun = [_begun(*call) for call in json.loads(line)]
        sys.stdout.write(json.dumps([_ended(*one) for one in begun]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
