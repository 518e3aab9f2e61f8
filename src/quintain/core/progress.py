"""The protocol by which long loops report progress; it is passed in, so the library never prints."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

CHECKPOINT_SECONDS = 10.0
"""About how long a loop works between two checkpoints: what a killed run loses at most."""


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
