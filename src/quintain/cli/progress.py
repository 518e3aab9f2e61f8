"""Progress bars on the terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class ProgressBars:
    """Draws one bar a loop, and removes it when the loop is done.

    Args:
        console: Where to draw; nothing is drawn where it is no terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tell: Callable[[str], None] = lambda _text: None

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """A live bar for ``total`` units of ``label``."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", justify="left"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal) as progress:
            task = progress.add_task(f"{label:<24}", total=total, told="")
            self._tell = lambda text: progress.update(task, told=escape(text))
            yield lambda done: progress.advance(task, done)

    def set_status(self, text: str) -> None:
        """A few words at the end of the bar."""
        self._tell(text)
