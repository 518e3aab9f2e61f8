"""A finished run folder answers the same command again, without work."""

import json
import os
from pathlib import Path

import pytest

from quintain.core.errors import ExitCode
from quintain.models.nets import xray_cnn
from quintain.models.weights import save_weights
from quintain.results.codec import load

NEVER = "quintain.evaluate.steps.attack.run_attack"


@pytest.fixture
def finished(call, weights, small):
    """The words of a run that is finished, in r."""
    words = ("attack", "--data", small, "--weights", weights, "--attack", "fgsm", "--out", "r")
    assert call(*words)[0] == ExitCode.OK
    return words


def claims(out):
    """What the screen says of the result, without where it is stored and what is required."""
    return [
        line for line in out.splitlines() if "result.json" not in line and "writing to" not in line and line
    ]


def test_the_same_command_shows_the_same_and_runs_nothing(call, finished, monkeypatch):
    (Path("before")).mkdir()
    record = load(Path("r/result.json"))
    monkeypatch.setattr(NEVER, None)
    code, out, _ = call(*finished)
    assert code == ExitCode.OK
    assert "finished before: nothing was run" in out
    assert "accuracy under attack" in out
    assert load(Path("r/result.json")) == record


def test_requirements_are_decided_anew_and_give_the_exit_code(call, finished, monkeypatch):
    monkeypatch.setattr(NEVER, None)
    code, out, _ = call(*finished, "--require", "robust_accuracy(linf:4/255) >= 0.999")
    assert code == ExitCode.FAILED
    assert "FAIL" in out
    assert load(Path("r/result.json")).requirements[0].verdict.decision == "FAIL"
    assert call(*finished)[0] == ExitCode.OK


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--limit", 5), "--limit = 0, now 5"),
        (("--threat", "linf:2/255"), "--threat = None, now ['linf:2/255']"),
        (("--attack", "pgd"), "--attack = ['fgsm'], now ['fgsm', 'pgd']"),
    ],
)
def test_other_settings_are_refused_by_the_difference(call, finished, more, told):
    code, _, err = call(*finished, *more)
    assert code == ExitCode.USAGE
    assert told in " ".join(err.split())


def test_other_weights_under_the_same_name_are_other_settings(call, weights, small):
    Path("w.safetensors").write_bytes(weights.read_bytes())
    words = ("attack", "--data", small, "--weights", "w.safetensors", "--attack", "fgsm", "--out", "r")
    assert call(*words)[0] == ExitCode.OK
    save_weights(xray_cnn(seed=9), Path("w.safetensors"))
    code, _, err = call(*words)
    assert code == ExitCode.USAGE
    assert "content of --weights = " in err


def test_data_that_were_written_anew_are_other_settings_and_no_hash_of_them_is_kept(call, weights, small):
    Path("d.npz").write_bytes(small.read_bytes())
    words = ("attack", "--data", "d.npz", "--weights", weights, "--attack", "fgsm", "--out", "r")
    assert call(*words)[0] == ExitCode.OK
    settings = json.loads(Path("r/run.json").read_text())
    assert "content of --data" not in settings
    os.utime("d.npz", ns=(0, settings["last change of --data"] + 1))
    code, _, err = call(*words)
    assert code == ExitCode.USAGE
    assert "last change of --data = " in err


def test_settings_that_cannot_be_read_are_refused(call, finished):
    Path("r/run.json").write_text("[")
    code, _, err = call(*finished)
    assert code == ExitCode.USAGE
    assert "r/run.json cannot be read" in err
    Path("r/run.json").write_text("[]")
    assert call(*finished)[0] == ExitCode.USAGE


def test_the_settings_are_no_record_and_name_no_requirement(call, finished):
    settings = json.loads(Path("r/run.json").read_text())
    assert settings["command"] == "attack"
    assert settings["--attack"] == ["fgsm"]
    assert not {"--out", "--require"} & settings.keys()
    assert call("report", "r")[0] == ExitCode.OK


def test_files_for_ci_are_written_again(call, finished, monkeypatch):
    monkeypatch.setattr(NEVER, None)
    assert call(*finished, "--junit", "j.xml")[0] == ExitCode.OK
    assert "<testsuite" in Path("j.xml").read_text()
