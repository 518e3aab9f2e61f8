"""``quintain gate``: the requirements decided anew on a finished run, where PyTorch need not be."""

import json
import shutil
from dataclasses import replace

import pytest

from quintain.core.errors import ExitCode
from quintain.results.codec import load, save
from quintain.results.robustness_records import AttackResult
from quintain.results.verdict import RunVerdict
from tests.report.support.claims import accuracy
from tests.report.support.privacy import epsilon_claim, privatized
from tests.report.support.sample import record
from tests.report.support.sample import run as drill_records
from tests.report.support.sample import save as save_drill

PASSES, FAILS = "robust_accuracy(linf:4/255) >= 0.6", "robust_accuracy(linf:4/255) >= 0.9"
FAR = "epsilon(delta=1e-5) <= 3.1"

WITHOUT_TORCH = """
import sys

sys.modules["torch"] = None
from quintain.cli.main import run

run()
"""


@pytest.fixture
def attacked(tmp_path):
    """The folder of a finished attack."""
    claim = replace(accuracy("net:linf:4/255", "Robust accuracy, net", 455, 470), primary=True)
    save(record(AttackResult(()), (claim,)), tmp_path / "r" / "result.json")
    return tmp_path / "r"


def state(folder, *requirements):
    text = "".join(f"  {one!r},\n" for one in requirements)
    (folder / "pyproject.toml").write_text(f"[tool.quintain]\nrequire = [\n{text}]\n")


def test_a_finished_run_is_decided_by_what_is_required_now(call, attacked, tmp_path):
    before = (attacked / "result.json").read_bytes()
    state(tmp_path, PASSES, FAR)
    code, out, _ = call("gate", "r")
    assert code == ExitCode.OK
    assert f"PASS  {PASSES}" in out
    assert f"not checked, because this run does not measure it: {FAR}" in out
    assert "OK: 1 of 1 requirement passed" in out
    state(tmp_path, PASSES, FAILS)
    code, out, _ = call("gate", "r", "--junit", "j.xml", "--json", "now.json")
    assert code == ExitCode.FAILED
    assert 'tests="3" failures="1"' in (tmp_path / "j.xml").read_text()
    assert load(tmp_path / "now.json").verdict.outcome == "FAILED"
    assert (attacked / "result.json").read_bytes() == before


def test_a_limit_on_the_wrong_side_is_refused(call, attacked):
    code, _, said = call("gate", "r", "--require", PASSES.replace(">=", "<="))
    assert code == ExitCode.USAGE
    assert f"expected >=: '{PASSES}'" in said


def test_what_the_command_line_requires_is_always_decided(call, attacked):
    code, out, _ = call("gate", "r", "--require", FAR)
    assert code == ExitCode.UNDECIDED
    assert f"UNDECIDED  {FAR}" in out
    code, out, _ = call("gate", "r", "--require", FAR, "--undecided", "warn")
    assert code == ExitCode.OK
    assert "warning: 1 of 1 requirement undecided" in out


def test_a_drill_is_decided_by_all_its_steps(call, tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    save_drill(drill_records(folder), folder)
    code, out, _ = call("gate", "d", "--require", FAR, "--require", FAILS, "--json", "-")
    assert code == ExitCode.FAILED
    decided = {one["requirement"]: one["verdict"]["decision"] for one in json.loads(out)["requirements"]}
    assert decided == {FAR: "PASS", FAILS: "FAIL"}


def cut_drill(folder, steps):
    """A drill that was killed after so many steps: no record of the whole."""
    folder.mkdir()
    save_drill(drill_records(folder)[:steps], folder)


def cut_record(folder):
    """What an interrupted private training leaves: a record that says so, and its state."""
    cut = RunVerdict("INTERRUPTED", ExitCode.INTERRUPTED, "the run was interrupted")
    partial = replace(record(privatized(), (epsilon_claim(),)), verdict=cut)
    save(partial, folder / "result.json")


def cut_state(folder):
    """A run whose state still lies there, so that it has not come to its end."""
    save(record(privatized(), (epsilon_claim(),)), folder / "result.json")
    (folder / "unfinished").mkdir()


@pytest.mark.parametrize("cut", [lambda folder: cut_drill(folder, 3), cut_record, cut_state])
@pytest.mark.parametrize("verb", ["gate", "report"])
def test_a_run_that_was_not_finished_passes_nothing(call, tmp_path, cut, verb):
    cut(tmp_path / "d")
    state(tmp_path, FAR, PASSES)
    code, out, _ = call(verb, "d", "--junit", "j.xml", "--sarif", "q.sarif", "--summary", "s.md")
    assert code == (ExitCode.INTERRUPTED if verb == "gate" else ExitCode.OK)
    assert ("the run was not finished" in out) == (verb == "gate")
    assert 'tests="3" failures="0" errors="3"' in (tmp_path / "j.xml").read_text()
    (told,) = json.loads((tmp_path / "q.sarif").read_text())["runs"]
    assert told["invocations"][0]["exitCode"] == ExitCode.INTERRUPTED
    assert len(told["results"]) == 2
    assert "not finished" in (tmp_path / "s.md").read_text()


@pytest.mark.parametrize("cut", [lambda folder: cut_drill(folder, 3), cut_record, cut_state])
def test_a_run_that_was_not_finished_proves_no_freedom_from_regressions(call, tmp_path, cut):
    cut(tmp_path / "cut")
    shutil.copytree(tmp_path / "cut", tmp_path / "same")
    code, out, _ = call("compare", "same", "cut")
    assert code == ExitCode.OK
    assert out.count("the run was not finished") == 2
    code, _, err = call("compare", "cut", "same", "--fail-on-regression")
    assert code == ExitCode.USAGE
    assert "the run was not finished" in err
    cut_state(tmp_path / "whole")
    (tmp_path / "whole" / "unfinished").rmdir()
    code, out, _ = call("compare", "whole", "cut", "--fail-on-regression")
    assert code == ExitCode.INTERRUPTED
    assert "the run was not finished" in out
    assert call("compare", "whole", "whole", "--fail-on-regression")[0] == ExitCode.OK


def begun_attack(folder):
    """What an attack leaves that was killed before it had saved anything."""
    (folder / "unfinished").mkdir(parents=True)
    (folder / "unfinished" / "verb").write_text("attack\n")


def begun_drill(folder):
    """What a drill leaves that was killed in its first step."""
    folder.mkdir()
    (folder / "run.json").write_text('{"seed": 0}')


@pytest.mark.parametrize("begun", [begun_attack, begun_drill])
def test_a_run_without_a_record_passes_nothing(call, attacked, tmp_path, begun):
    begun(tmp_path / "d")
    state(tmp_path, FAR, PASSES)
    for rule in ("fail", "warn"):
        code, out, _ = call("gate", "d", "--undecided", rule, "--junit", "j.xml", "--summary", "s.md")
        assert code == ExitCode.INTERRUPTED
        assert out.count("UNDECIDED  ") == 2
        assert "INTERRUPTED: the run was not finished: it has no record" in " ".join(out.split())
        assert 'tests="3" failures="0" errors="3"' in (tmp_path / "j.xml").read_text()
        assert "not finished" in (tmp_path / "s.md").read_text()
    code, out, _ = call("compare", "r", "d", "--fail-on-regression")
    assert code == ExitCode.INTERRUPTED
    assert "the run was not finished: it has no record" in " ".join(out.split())
    assert call("compare", "d", "r", "--fail-on-regression")[0] == ExitCode.USAGE


def test_a_folder_in_which_no_run_was_begun_is_a_mistake(call, tmp_path):
    (tmp_path / "d").mkdir()
    assert call("gate", "d")[0] == ExitCode.USAGE


def test_no_rule_for_what_is_undecided_makes_an_unfinished_run_pass(call, tmp_path):
    cut_drill(tmp_path / "d", 7)
    words = ("gate", "d", "--require", FAR, "--undecided", "warn", "--json", "-")
    code, out, _ = call(*words)
    assert code == ExitCode.INTERRUPTED
    told = json.loads(out)
    assert told["verdict"]["outcome"] == "INTERRUPTED"
    assert [one["verdict"]["decision"] for one in told["requirements"]] == ["UNDECIDED"]


def test_without_a_run_the_requirements_are_only_read(call, tmp_path):
    code, out, _ = call("gate")
    assert code == ExitCode.OK
    assert "no requirement is stated" in out
    state(tmp_path, PASSES, FAR)
    code, out, _ = call("gate")
    assert code == ExitCode.OK
    assert "2 requirements from" in out
    state(tmp_path, "robust_acuracy(linf:4/255) >= 0.6")
    code, _, err = call("gate")
    assert code == ExitCode.USAGE
    assert "pyproject.toml, line 3" in err
    assert "Did you mean robust_accuracy" in err


def test_it_runs_where_torch_is_not_installed(fresh, attacked, tmp_path):
    (tmp_path / "without.py").write_text(WITHOUT_TORCH)
    told = fresh(
        tmp_path / "without.py", "gate", "r", "--require", FAILS, "--sarif", "q.sarif", home=tmp_path
    )
    assert told.code == ExitCode.FAILED, told.err
    assert json.loads((tmp_path / "q.sarif").read_text())["runs"][0]["results"]
