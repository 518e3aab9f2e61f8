"""The protocol by which long loops report progress; it is passed in, so the library never prints."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

CHECKPOINT_SECONDS = 10.0
"""About how long a loop works between two checkpoints: what a killed run loses at most."""


class CheckpointTimer:
    """Knows when the next checkpoint of a loop is due."""

    def __init__(self) -> None:
        self._last, self._write_seconds = time.monotonic(), 0.0

    def is_due(self) -> bool:
        """Return whether the last checkpoint is ten seconds old, or twenty times what it took to write."""
        return time.monotonic() - self._last >= max(CHECKPOINT_SECONDS, 20 * self._write_seconds)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Measure how long it takes to write a checkpoint."""
        started = time.monotonic()
        yield
        self._last = time.monotonic()
        self._write_seconds = self._last - started


class Progress(Protocol):
    """A progress display, such as the one of the command line."""

    def bar(self, label: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Open a bar for ``total`` units of ``label``.

        The context yields a function; call it with the number of units just done.
        """

    def set_status(self, text: str) -> None:
        """Show a few words beside the open bar, in place of the last ones."""


class NoProgress:
    """A progress display that shows nothing."""

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        """Open a bar that is not shown."""
        yield lambda _done: None

    def set_status(self, text: str) -> None:
        """Show nothing."""


no_progress: Progress = NoProgress()
