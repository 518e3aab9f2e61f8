"""Progress and results where there is no terminal, and where escape codes are not wanted."""

import io
import threading

import pytest
from rich.console import Console

from quintain.cli.console import LINE_SECONDS, ProgressBars, Terminal, error_console


class Waits:
    """Ten seconds pass at once, so many times; then the loop is awaited."""

    def __init__(self, times):
        self.left, self.now, self.asked, self.ready = times, 0.0, [], threading.Event()

    def __call__(self, seconds, done):
        self.asked.append(seconds)
        if self.left:
            self.left -= 1
            self.now += seconds
            return False
        self.ready.set()
        return done.wait()

    def clock(self):
        return self.now


@pytest.fixture
def pipe():
    return Console(file=io.StringIO(), width=80)


def test_in_a_pipe_progress_is_a_line_every_ten_seconds_also_while_nothing_is_finished(pipe):
    waits = Waits(2)
    bars = ProgressBars(pipe, wait=waits, clock=waits.clock)
    with bars.bar("attack model", 1000) as advance:
        assert waits.ready.wait(30)
        advance(36)
    lines = pipe.file.getvalue().splitlines()
    assert lines == ["attack model: 0 of 1,000 (10 s)", "attack model: 0 of 1,000 (20 s)"]
    assert set(waits.asked) == {LINE_SECONDS}


def test_a_line_has_what_was_done_and_the_status(pipe):
    gate, waits = threading.Event(), Waits(1)

    def wait(seconds, done):
        gate.wait(30)
        return waits(seconds, done)

    bars = ProgressBars(pipe, wait=wait, clock=waits.clock)
    with bars.bar("private", 50) as advance:
        advance(20)
        bars.set_status("epsilon 1.2 [a]")
        gate.set()
        assert waits.ready.wait(30)
    assert pipe.file.getvalue() == "private: 20 of 50 (10 s), epsilon 1.2 [a]\n"


def test_a_loop_of_a_moment_writes_no_line(pipe):
    with ProgressBars(pipe).bar("attack", 3) as advance:
        advance(3)
    assert pipe.file.getvalue() == ""


def test_an_error_in_the_loop_ends_the_lines(pipe):
    count = threading.active_count()
    with pytest.raises(KeyError), ProgressBars(pipe).bar("attack", 3):
        raise KeyError
    assert threading.active_count() == count


def test_no_color_means_no_escape_code_even_on_a_terminal(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    for console in (Terminal(), error_console()):
        console.file = io.StringIO()
        assert console.is_terminal
        console.print("[bold red]error:[/] [dim]text[/]")
        with ProgressBars(console).bar("attack", 3) as advance:
            advance(1)
        assert console.file.getvalue() == "error: text\n"


def test_a_bar_is_drawn_on_a_terminal(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    bars = ProgressBars(console)
    with bars.bar("attack", 3) as advance:
        advance(1)
        bars.set_status("half")
    assert "attack" in console.file.getvalue()
    assert "\x1b[" in console.file.getvalue()
