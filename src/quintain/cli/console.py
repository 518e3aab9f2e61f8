"""The terminal: results on standard output, progress on standard error, as bars or as lines."""

import os
import sys
import threading
import time
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

LINE_SECONDS = 10.0
"""How often progress is a line, where it cannot be a bar."""


def is_plain() -> bool:
    """Return whether the user wants no escape code at all: ``NO_COLOR`` is set, to anything but nothing."""
    return bool(os.environ.get("NO_COLOR"))


class Terminal(Console):
    """Standard output; a closed pipe (``| head``) stops the printing but not the work.

    It does not change the exit code.

    Nothing is taken for an emoji: ``mask:eyeglasses:0.5`` is a threat.
    """

    def __init__(self) -> None:
        super().__init__(highlight=False, emoji=False, color_system=None if is_plain() else "auto")

    def on_broken_pipe(self) -> None:
        """Discard the rest."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def error_console() -> Console:
    """Return standard error, for messages and progress."""
    return Console(
        stderr=True,
        soft_wrap=True,
        highlight=False,
        emoji=False,
        color_system=None if is_plain() else "auto",
    )


def wait_on(seconds: float, done: threading.Event) -> bool:
    """Wait until a loop is done, but no longer than so many seconds; return whether it is."""
    return done.wait(seconds)


class ProgressBars:
    """Draw one bar a loop, and remove it when the loop is done; or write a line every ten seconds.

    Lines are written where the console is no terminal, and where the user wants no escape codes.

    Args:
        console: Where to draw or write.
        wait: Waits for so many seconds, or until the event is set, and returns whether it is.
        clock: Seconds.
    """

    def __init__(
        self,
        console: Console,
        *,
        wait: Callable[[float, threading.Event], bool] = wait_on,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._wait, self._clock = console, wait, clock
        self._show: Callable[[str], None] = lambda _text: None

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """Open a bar for ``total`` units of ``label``."""
        drawn = self._bar if self._is_drawn else self._lines
        with drawn(label, total) as advance:
            yield advance

    def set_status(self, text: str) -> None:
        """Show a few words at the end of the bar."""
        self._show(text)

    def write_line(self, text: str) -> None:
        """Write a line that stays, where progress is lines; bars show enough."""
        if not self._is_drawn:
            self._console.print(text, markup=False, soft_wrap=True)

    @property
    def _is_drawn(self) -> bool:
        """Whether progress is a bar."""
        return self._console.is_terminal and not is_plain()

    @contextmanager
    def _bar(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", justify="left"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(f"{label:<24}", total=total, status="")
            self._show = lambda text: progress.update(task, status=escape(text))
            yield lambda done: progress.advance(task, done)

    @contextmanager
    def _lines(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """Write how far the loop is from a thread of its own, so that a line comes also while one unit lasts.

        A loop of less than ten seconds writes none.
        """
        count, status, done, started = [0], [""], threading.Event(), self._clock()

        def advance(units: int) -> None:
            count[0] += units

        def show(text: str) -> None:
            status[0] = text

        def write() -> None:
            while not self._wait(LINE_SECONDS, done):
                words = f", {status[0]}" if status[0] else ""
                self._console.print(
                    f"{label}: {count[0]:,} of {total:,} ({self._clock() - started:.0f} s){words}",
                    markup=False,
                    soft_wrap=True,
                )

        self._show = show
        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        try:
            yield advance
        finally:
            done.set()
            thread.join()
