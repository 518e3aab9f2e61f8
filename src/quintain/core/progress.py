"""How long loops report on themselves: a protocol that is passed in, so that the library never prints."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Something that can show how far a loop is."""

    def loop(self, label: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Open a bar for ``total`` units of ``label``; call what it yields with the number of units just done."""

    def tell(self, text: str) -> None:
        """Show a few words beside the open bar, until the next ones."""


class Silent:
    """Shows nothing."""

    @contextmanager
    def loop(self, label: str, total: int) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        """A bar that nobody sees."""
        yield lambda _done: None

    def tell(self, text: str) -> None:
        """Words that nobody sees."""


silent: Progress = Silent()
