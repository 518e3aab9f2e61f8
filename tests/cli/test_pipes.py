"""Standard output as programs and terminals have it: closed pipes, the record alone, no escape codes."""

import json
import os
import subprocess
import sys

import pytest

from quintain.core.errors import ExitCode

SPEAKS_LAST = """
import atexit
from torch import nn

atexit.register(print, "goodbye")
atexit.register(lambda: __import__("os").system("echo from a child"))


def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 2)).eval()
"""


def quintain(*words, home, stdout=subprocess.PIPE, **variables):
    """Run the command line as a process of its own, to its very end."""
    return subprocess.run(
        [sys.executable, "-m", "quintain", *map(str, words)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        cwd=home,
        env={**os.environ, **variables},
        check=False,
    )


@pytest.fixture
def closed():
    """A pipe that nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize(
    "words", [("schema",), ("--version",), ("--help",), ("evaluate", "--help"), ("list",)]
)
def test_what_only_prints_ends_quietly_when_its_reader_has_gone(tmp_path, closed, words):
    told = quintain(*words, home=tmp_path, stdout=closed)
    assert (told.returncode, told.stderr) == (ExitCode.OK, "")


def test_nothing_follows_the_record_on_standard_output(tmp_path, small):
    (tmp_path / "net.py").write_text(SPEAKS_LAST)
    told = quintain("check", "--data", small, "--model", "net.py:make", "--json", "-", home=tmp_path)
    assert told.returncode == ExitCode.OK, told.stderr
    assert json.loads(told.stdout)["result"]["kind"] == "check"
    assert "goodbye" in told.stderr
    assert "from a child" in told.stderr


def test_a_record_that_nobody_reads_changes_no_exit_code(tmp_path, small, closed):
    words = ("check", "--data", small, "--json", "-")
    told = quintain(*words, home=tmp_path, stdout=closed)
    assert told.returncode == ExitCode.OK, told.stderr
    assert "Broken" not in told.stderr


@pytest.mark.parametrize("words", [("evaluate", "--help"), ("evaluate", "--no-such-option")])
def test_no_color_means_no_escape_code_in_help_and_usage_errors(tmp_path, words):
    plain = quintain(*words, home=tmp_path, FORCE_COLOR="1", NO_COLOR="1")
    assert "\x1b" not in plain.stdout + plain.stderr
    assert "quintain evaluate" in plain.stdout + plain.stderr
    colored = quintain(*words, home=tmp_path, FORCE_COLOR="1", NO_COLOR="")
    assert "\x1b" in colored.stdout + colored.stderr
