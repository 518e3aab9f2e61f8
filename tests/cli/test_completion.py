"""Completion of the shell: it can be installed, and it offers commands and options."""

import os
import subprocess
import sys

import pytest


def quintain(*words, home, **environment):
    return subprocess.run(
        [sys.executable, "-m", "quintain", *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOME": str(home), "SHELL": "/bin/bash", **environment},
    ).stdout


def test_it_is_installed_for_the_shell_at_hand(tmp_path):
    # which shell runs is told by typer, which looks at the processes above; a test may have none there
    told = quintain(
        "--install-completion", "bash", home=tmp_path, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"
    )
    assert "completion installed" in told
    assert ".bash_completions/quintain.sh" in (tmp_path / ".bashrc").read_text()
    assert "_QUINTAIN_COMPLETE" in (tmp_path / ".bash_completions" / "quintain.sh").read_text()


@pytest.mark.parametrize(
    ("line", "offered"), [("quintain att", ["attack"]), ("quintain attack --thr", ["--threat"])]
)
def test_commands_and_options_are_offered(tmp_path, line, offered):
    place = str(len(line.split()) - 1)
    out = quintain(home=tmp_path, COMP_WORDS=line, COMP_CWORD=place, _QUINTAIN_COMPLETE="complete_bash")
    assert out.split() == offered
