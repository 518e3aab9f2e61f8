"""The protocol by which long loops report progress; it is passed in, so the library never prints."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Something that shows how far a loop is."""

    def bar(self, label: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Open a bar for ``total`` units of ``label``.

        Call what it yields with the number of units just done.
        """

    def set_status(self, text: str) -> None:
        """Show a few words beside the open bar, in place of those before."""


class NoProgress:
    """A progress display that shows nothing."""

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        """Open a bar that is not shown."""
        yield lambda _done: None

    def set_status(self, text: str) -> None:
        """Show nothing."""


no_progress: Progress = NoProgress()
