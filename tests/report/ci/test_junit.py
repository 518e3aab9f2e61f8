"""JUnit is valid by Jenkins' schema, and tells each outcome once, under a name that stays."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from quintain.core.errors import ExitCode
from quintain.report.ci.cases import CIRun
from quintain.report.ci.junit import junit
from quintain.results.records import RequirementResult
from quintain.results.verdict import Decision, Outcome, RunVerdict, Verdict
from tests.report.ci.runs import FAILS, FAR, PASSES, UNDECIDED, attacked, every, failed
from tests.schemas import check_junit

OUTCOMES = {"failure", "error", "skipped"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CIRun]:
    return every(tmp_path_factory.mktemp("runs"))


def read(run: CIRun) -> dict[tuple[str, str], ElementTree.Element | None]:
    """Outcome of each case, by class and name."""
    root = ElementTree.fromstring(junit(run))
    found = {}
    for case in root.iter("testcase"):
        key = (case.get("classname", ""), case.get("name", ""))
        assert key not in found
        outcomes = [child for child in case if child.tag in OUTCOMES]
        assert len(outcomes) <= 1
        found[key] = outcomes[0] if outcomes else None
    return found


def outcomes(run: CIRun) -> dict[tuple[str, str], str]:
    return {key: "" if one is None else one.tag for key, one in read(run).items()}


def test_every_run_is_valid_and_counts_what_it_holds(runs: dict[str, CIRun]) -> None:
    for name, run in runs.items():
        text = junit(run)
        check_junit(text)
        root = ElementTree.fromstring(text)
        (suite,) = root.iter("testsuite")
        assert len(read(run)) >= 1, name
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert suite.get(attribute) == str(len(list(root.iter(tag)))), name
        assert suite.get("tests") == root.get("tests") == str(len(list(root.iter("testcase"))))


def test_a_requirement_fails_passes_or_is_an_error() -> None:
    gate, run = "quintain.gate.net", ("quintain.run", "quintain attack")
    assert outcomes(attacked(PASSES, FAILS, UNDECIDED)) == {
        run: "",
        (gate, PASSES): "",
        (gate, FAILS): "failure",
        (gate, UNDECIDED): "error",
    }
    assert outcomes(attacked(UNDECIDED, undecided="warn")) == {run: "", (gate, UNDECIDED): "skipped"}
    assert outcomes(attacked(FAR)) == {run: "", (gate, FAR): "error"}


def test_the_reason_stands_in_the_message_and_in_the_text() -> None:
    failure = read(attacked(FAILS))["quintain.gate.net", FAILS]
    assert failure is not None
    assert failure.get("message") == "model=net: between 0.6924 and 0.7866, required >= 0.9"
    assert failure.get("type") == "FAIL"
    assert failure.text is not None
    for part in (FAILS, "required >= 0.9", "certified 72.9 %", "attacked 75.3 %", "runs/2026-11-24-attack"):
        assert part in failure.text


def test_a_run_without_requirements_has_a_case_all_the_same() -> None:
    assert outcomes(attacked()) == {("quintain.run", "quintain attack"): ""}


def test_a_run_that_broke_off_is_an_error_and_leaves_its_requirements_open() -> None:
    found = read(failed(PASSES, reason="the model gives NaN"))
    broken = found["quintain.run", "quintain attack"]
    assert broken is not None
    assert (broken.tag, broken.get("type"), broken.get("message")) == (
        "error",
        "Execution",
        "the model gives NaN",
    )
    left = found["quintain.gate", PASSES]
    assert left is not None
    assert left.tag == "error"
    assert "did not come to its end: the model gives NaN" in left.get("message", "")


def test_alarms_are_errors_in_a_class_of_their_own(runs: dict[str, CIRun]) -> None:
    for name, kind in (("contradiction", "Contradiction"), ("suspect", "Suspect")):
        alarm = next(one for (group, _), one in read(runs[name]).items() if group == "quintain.alarm")
        assert alarm is not None
        assert (alarm.tag, alarm.get("type")) == ("error", kind)
    mismatch = read(runs["mismatch"])["quintain.alarm", "noise"]
    assert mismatch is not None
    assert mismatch.get("type") == "MechanismMismatch"


def test_a_suspect_claim_is_an_error_even_where_undecided_is_tolerated(runs: dict[str, CIRun]) -> None:
    assert outcomes(runs["suspect"])["quintain.alarm", "net:l2:0.5"] == "error"


def test_a_model_that_is_named_with_a_dot_is_no_package() -> None:
    run = attacked("robust_accuracy(linf:4/255, model=net.v2) >= 0.5")
    assert "quintain.gate.net_v2" in {group for group, _ in read(run)}


def test_a_threat_of_a_package_that_is_not_installed_is_told_all_the_same() -> None:
    text = "robust_accuracy(weather:snow=2, model=net) >= 0.5"
    one = RequirementResult(text, Verdict(Decision.FAIL, "between 0 and 0.4"), "")
    run = attacked()
    (stored,) = run.records
    told = replace(run, records=(replace(stored, requirements=(one,)),))
    assert outcomes(told)["quintain.gate.net", text] == "failure"


def test_what_xml_cannot_hold_is_left_out(runs: dict[str, CIRun]) -> None:
    text = junit(runs["control characters"])
    broken = read(runs["control characters"])["quintain.run", "quintain attack"]
    assert broken is not None
    assert broken.get("message") == "red   ok"
    assert not set(text) & {chr(code) for code in range(32) if chr(code) not in "\t\n\r"}


def test_names_stay_when_numbers_change() -> None:
    before, after = attacked(PASSES, FAR), failed(PASSES, FAR)
    assert {name for _, name in read(before)} == {name for _, name in read(after)}


@pytest.mark.parametrize("outcome", ["FAILED", "UNDECIDED", "ALARM"])
def test_what_no_other_case_tells_is_told_by_the_run(outcome: Outcome) -> None:
    """An alarm is not told by a requirement that is undecided, nor by one that fails."""
    code = int(ExitCode[outcome])
    bare = CIRun(verb="certify", command="quintain certify", verdict=RunVerdict(outcome, code, "said"))
    element = "failure" if outcome == "FAILED" else "error"
    assert outcomes(bare) == {("quintain.run", "quintain certify"): element}
    run = replace(attacked(PASSES, FAILS, UNDECIDED), verdict=RunVerdict(outcome, code, "said"))
    told = outcomes(run)["quintain.run", "quintain attack"]
    assert told == (element if outcome == "ALARM" else "")
