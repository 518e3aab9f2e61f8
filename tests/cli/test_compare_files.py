"""What CI systems read of ``quintain compare``: the same files as of a run, valid by the same schemas."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from quintain.core.errors import ExitCode
from quintain.results.codec import decode, load, save
from quintain.results.comparison_records import CompareResult
from quintain.results.json_schema import SCHEMA_FILE
from quintain.results.robustness_records import AttackResult
from tests.report.support.claims import accuracy
from tests.report.support.privacy import epsilon_claim
from tests.report.support.sample import record
from tests.schemas import check_junit, check_sarif

NET, OTHER = "net:linf:4/255", "other:linf:4/255"
FILES = ("--junit", "ci/j.xml", "--sarif", "ci/q.sarif", "--summary", "ci/s.md", "--json", "-")


@pytest.fixture(autouse=True)
def folders(tmp_path):
    """Two finished runs: one claim fell, one stayed, and the second run has an epsilon without a bound."""

    def claim(name, hits):
        return replace(accuracy(name, f"Robust accuracy, {name}", hits, hits + 15), primary=True)

    save(record(AttackResult(()), (claim(NET, 455), claim(OTHER, 300))), tmp_path / "a" / "result.json")
    after = (claim(NET, 355), claim(OTHER, 300), epsilon_claim())
    save(record(AttackResult(()), after), tmp_path / "b" / "result.json")


def files(folder):
    """The JUnit outcomes by class and name, SARIF's results and invocation, and the summary."""
    check_junit((folder / "ci/j.xml").read_text())
    check_sarif((folder / "ci/q.sarif").read_text())
    cases = {
        (case.get("classname"), case.get("name")): [one.tag for one in case if one.tag != "system-out"]
        for case in ElementTree.parse(folder / "ci/j.xml").iter("testcase")
    }
    (told,) = json.loads((folder / "ci/q.sarif").read_text())["runs"]
    return cases, told["results"], told["invocations"][0], (folder / "ci/s.md").read_text()


def test_a_regression_is_told_to_every_reader(call, tmp_path):
    code, out, err = call("compare", "a", "b", "--fail-on-regression", *FILES)
    assert code == ExitCode.FAILED
    assert "REGRESSION" in err
    jsonschema.validate(json.loads(out), json.loads(SCHEMA_FILE.read_text()))
    written = decode(out.encode())
    assert (written.verdict.outcome, written.verdict.exit_code) == ("FAILED", 1)
    assert isinstance(written.result, CompareResult)
    assert {one.name for one in written.result.regressions} == {NET}
    cases, results, invocation, summary = files(tmp_path)
    assert cases == {
        ("quintain.run", "quintain compare"): [],
        ("quintain.regression", NET): ["failure"],
        ("quintain.regression", OTHER): [],
    }
    ((rule, level),) = {(one["ruleId"], one["level"]) for one in results}
    assert (rule, level) == ("regression", "error")
    assert (invocation["exitCode"], invocation["executionSuccessful"]) == (1, True)
    assert summary.startswith("## quintain compare: FAILED\n")
    assert f"| FAIL | `{NET}` |" in summary


def test_no_regression_passes_and_is_no_alert(call, tmp_path):
    code, out, _ = call("compare", "a", "a", "--fail-on-regression", *FILES)
    assert code == ExitCode.OK
    assert decode(out.encode()).verdict.reason == "no claim is worse by more than 0.01"
    cases, results, _, summary = files(tmp_path)
    assert set(map(tuple, cases.values())) == {()}
    assert len(cases) == 3
    assert results == []
    assert "## quintain compare: OK" in summary


def test_what_is_only_shown_is_no_case(call, tmp_path):
    code, out, _ = call("compare", "a", "b", *FILES)
    assert code == ExitCode.OK
    written = decode(out.encode())
    assert [one.change for one in written.result.changes] == ["worse", "same", "added"]
    assert written.result.tolerance is None
    cases, results, _, summary = files(tmp_path)
    assert cases == {("quintain.run", "quintain compare"): []}
    assert results == []
    assert "only the second run claims it" in summary


def test_an_unfinished_run_and_a_wrong_command_are_errors(call, tmp_path):
    (tmp_path / "b" / "unfinished").mkdir()
    assert call("compare", "a", "b", "--fail-on-regression", *FILES)[0] == ExitCode.INTERRUPTED
    cases, results, invocation, _ = files(tmp_path)
    assert cases["quintain.run", "quintain compare"] == ["error"]
    assert cases["quintain.regression", NET] == ["failure"]
    assert cases["quintain.regression", OTHER] == ["error"]
    assert {one["level"] for one in results} == {"error", "warning"}
    assert invocation["exitCode"] == ExitCode.INTERRUPTED
    code, out, _ = call("compare", "a", "nowhere", *FILES)
    assert (code, out) == (ExitCode.USAGE, "")
    cases, _, invocation, summary = files(tmp_path)
    assert cases == {("quintain.run", "quintain compare"): ["error"]}
    assert invocation["executionSuccessful"] is False
    assert "USAGE" in summary


@pytest.mark.parametrize("name", ["a/compared.json", "b/result.json"])
def test_no_output_becomes_a_record_of_a_compared_run(call, tmp_path, name):
    before = Path(tmp_path, "b", "result.json").read_bytes()
    code, _, err = call("compare", "a", "b", "--json", name)
    assert code == ExitCode.USAGE
    assert "lies in a run folder" in err
    assert Path(tmp_path, "b", "result.json").read_bytes() == before


def test_a_stored_comparison_is_reported(call, tmp_path):
    assert call("compare", "a", "b", "--fail-on-regression", "--json", "c/result.json")[0] == ExitCode.FAILED
    assert load(tmp_path / "c" / "result.json").result.before == "a"
    assert call("report", "c")[0] == ExitCode.OK
    assert "1 claim is worse by more than 0.01" in (tmp_path / "c" / "report.html").read_text()
