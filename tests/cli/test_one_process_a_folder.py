"""A run folder belongs to one process at a time."""

import fcntl
import os

import pytest

from quintain.cli import call as verb_call
from quintain.core.errors import ExitCode

ATTACK = ("attack", "--threat", "linf:1/255", "--attack", "fgsm", "--limit", "4", "--out", "r")


@pytest.fixture
def in_use(tmp_path):
    """A run folder in which another process works; call it to end that."""
    (tmp_path / "r").mkdir()
    handle = os.open(tmp_path / "r", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return lambda: os.close(handle)


def test_a_folder_is_refused_while_another_process_works_in_it(call, in_use, weights, small, tmp_path):
    code, _, said = call(*ATTACK, "--weights", weights, "--data", small)
    assert code == ExitCode.USAGE
    assert "another process is working in r; wait until it ends, or give each run an --out" in said
    assert not list((tmp_path / "r").iterdir())
    in_use()
    code, _, said = call(*ATTACK, "--weights", weights, "--data", small)
    assert code == ExitCode.OK, said


def test_a_drill_is_refused_while_another_process_works_in_its_folder(call, in_use):
    code, _, said = call("drill", "--only", "check", "--out", "r")
    assert code == ExitCode.USAGE
    assert "another process is working in r" in said
    in_use()


def test_what_another_run_finished_in_the_meantime_is_not_replaced(call, monkeypatch, small, tmp_path):
    choose = verb_call.choose_folder

    def late(verb, out, resume_dir):
        folder = choose(verb, out, resume_dir)
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / "result.json").write_text("another's")
        return folder

    monkeypatch.setattr(verb_call, "choose_folder", late)
    for named, told in ((("--out", "r"), "is not an empty folder"), ((), "another run has begun in runs")):
        code, _, said = call("check", "--data", small, "--model", "xray-cnn", *named)
        assert code == ExitCode.USAGE, said
        assert told in said
    assert [path.read_text() for path in tmp_path.rglob("result.json")] == ["another's"] * 2
