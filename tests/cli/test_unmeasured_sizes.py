"""A requirement at a size that a finished run has not measured is a mistake, wherever it is decided."""

from dataclasses import replace

import pytest

from quintain.core.errors import ExitCode
from quintain.results.codec import load, save
from quintain.results.records import SkippedResult
from quintain.results.robustness_records import AttackResult
from tests.report.support.claims import accuracy
from tests.report.support.sample import record

FAR = "robust_accuracy(linf:8/255) >= 0.5"
MEASURED = "is on linf:8/255, and the run in r measured linf:4/255: require one of these"


@pytest.fixture
def folder(tmp_path):
    claim = replace(accuracy("net:linf:4/255", "Robust accuracy, net", 455, 470), primary=True)
    save(record(AttackResult(()), (claim,)), tmp_path / "r" / "result.json")
    return tmp_path / "r"


def test_gate_names_the_sizes_that_were_measured(call, folder, tmp_path):
    code, out, err = call("gate", "r", "--require", FAR, "--junit", "j.xml")
    assert code == ExitCode.USAGE
    assert "UNDECIDED" not in out
    assert f"requirement '{FAR}' {MEASURED}" in err
    assert 'name="exit-code" value="2"' in (tmp_path / "j.xml").read_text()
    (tmp_path / "pyproject.toml").write_text(f'[tool.quintain]\nrequire = ["{FAR}"]\nundecided = "warn"\n')
    code, _, err = call("gate", "r")
    assert code == ExitCode.USAGE
    assert "pyproject.toml, line 2) " + MEASURED in err


def test_another_type_of_threat_is_a_mistake_on_the_command_line_alone(call, folder, tmp_path):
    other = "robust_accuracy(l2:0.5) >= 0.5"
    assert call("gate", "r", "--require", other)[0] == ExitCode.USAGE
    (tmp_path / "pyproject.toml").write_text(f'[tool.quintain]\nrequire = ["{other}"]\n')
    code, out, _ = call("gate", "r")
    assert code == ExitCode.OK
    assert f"not checked, because this run does not measure it: {other}" in out


def test_an_unfinished_run_and_one_with_a_step_left_out_may_have_been_to_measure_it(call, folder):
    skipped = replace(load(folder / "result.json"), claims=(), result=SkippedResult("certify", "no", "yes"))
    save(skipped, folder / "08-certify.json")
    assert call("gate", "r", "--require", FAR)[0] == ExitCode.UNDECIDED
    (folder / "unfinished").mkdir()
    assert call("gate", "r", "--require", FAR)[0] == ExitCode.INTERRUPTED


def test_a_rerun_and_a_replay_name_them_too(call, small, weights, tmp_path):
    words = ("attack", "--data", small, "--weights", weights, "--threat", "linf:4/255", "--attack", "fgsm",
             "--limit", 10, "--out", "r")  # fmt: skip
    code, _, err = call(*words)
    assert code == ExitCode.OK, err
    before = (tmp_path / "r/result.json").read_bytes()
    code, _, err = call(*words, "--require", FAR)
    assert code == ExitCode.USAGE
    assert MEASURED in err
    assert (tmp_path / "r/result.json").read_bytes() == before
    code, _, err = call("replay", "r", "--weights", weights, "--out", "again", "--require", FAR)
    assert code == ExitCode.USAGE
    assert MEASURED in err
    assert not (tmp_path / "again").exists()
