"""The terminal: results on standard output, progress bars on standard error."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Terminal(Console):
    """Standard output; a closed pipe (``| head``) stops the printing but not the work.

    It does not change the exit code.

    Nothing is taken for an emoji: ``mask:eyeglasses:0.5`` is a threat.
    """

    def __init__(self) -> None:
        super().__init__(highlight=False, emoji=False)

    def on_broken_pipe(self) -> None:
        """Discard the rest."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class ProgressBars:
    """Draw one bar a loop, and remove it when the loop is done.

    Args:
        console: Where to draw; nothing is drawn where it is no terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._show: Callable[[str], None] = lambda _text: None

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """Open a bar for ``total`` units of ``label``."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", justify="left"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        ) as progress:
            task = progress.add_task(f"{label:<24}", total=total, status="")
            self._show = lambda text: progress.update(task, status=escape(text))
            yield lambda done: progress.advance(task, done)

    def set_status(self, text: str) -> None:
        """Show a few words at the end of the bar."""
        self._show(text)
