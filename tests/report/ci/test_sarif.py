"""SARIF is valid by its schema, and holds what GitHub takes: results with a place, and no passes."""

import json
from pathlib import Path
from typing import Any

import pytest

from quintain.report.ci.cases import CIRun
from quintain.report.ci.locations import Repository
from quintain.report.ci.rules import RULES, TAXA
from quintain.report.ci.sarif import sarif
from quintain.results.quantity import Metric
from quintain.results.requirements import ATTACKED_ACCURACY
from tests.report.ci.runs import FAILS, FAR, PASSES, UNDECIDED, attacked, every, failed
from tests.schemas import check_sarif

PROJECT = f"""[project]
name = "mine"

# {FAILS} is what we want
[tool.quintain]
require = [
    "{PASSES}", "{FAILS}",
    "{UNDECIDED}",
]
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CIRun]:
    return every(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository whose requirements stand in its root, seen from a folder below."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    below = tmp_path / "a folder" / "b"
    below.mkdir(parents=True)
    return Repository.around(below)


def read(run: CIRun, repository: Repository) -> dict[str, Any]:
    text = sarif(run, repository)
    check_sarif(text)
    (one,) = json.loads(text)["runs"]
    return one


def place(result: dict[str, Any]) -> tuple[str, int, int, int]:
    (location,) = result["locations"]
    region = location["physicalLocation"]["region"]
    assert region["startLine"] == region["endLine"]
    uri = location["physicalLocation"]["artifactLocation"]["uri"]
    return uri, region["startLine"], region["startColumn"], region["endColumn"]


def test_every_run_is_valid_and_every_result_has_a_place(
    runs: dict[str, CIRun], repository: Repository
) -> None:
    for run in runs.values():
        for result in read(run, repository)["results"]:
            uri, line, start, end = place(result)
            assert uri == "pyproject.toml"
            assert line >= 1
            assert 1 <= start < end
            assert result["level"] in ("error", "warning")
            assert result["ruleId"] == list(RULES)[result["ruleIndex"]]


def test_passes_are_left_out_and_the_others_have_their_level(repository: Repository) -> None:
    found = read(attacked(PASSES, FAILS, UNDECIDED), repository)["results"]
    assert [(one["ruleId"], one["level"], one["properties"]["requirement"]) for one in found] == [
        ("robust_accuracy", "error", FAILS),
        ("robust_accuracy", "warning", UNDECIDED),
    ]
    assert read(attacked(PASSES), repository)["results"] == []


def test_a_result_points_at_the_line_that_states_its_requirement(repository: Repository) -> None:
    fails, undecided = read(attacked(FAILS, UNDECIDED), repository)["results"]
    lines = PROJECT.splitlines()
    for result, text in ((fails, FAILS), (undecided, UNDECIDED)):
        _, line, start, end = place(result)
        assert lines[line - 1][start - 1 : end - 1] == text
        assert not lines[line - 1].startswith("#")


def test_what_no_file_states_points_at_the_project_else_at_the_record(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    record = tmp_path / "runs" / "a b" / "result.json"
    alone = Repository.around(tmp_path, record)
    (result,) = read(attacked(FAILS), alone)["results"]
    assert place(result)[0] == "runs/a%20b/result.json"
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (result,) = read(attacked(FAILS), Repository.around(tmp_path, record))["results"]
    assert place(result)[:2] == ("pyproject.toml", 1)
    (tmp_path / ".git").rmdir()
    below = Repository.around(tmp_path / "runs", record)
    assert below.texts == (("pyproject.toml", "[project]\n"),)
    assert below.record == "runs/a b/result.json"
    outside = Repository.around(tmp_path / "runs", Path("/elsewhere/result.json"))
    assert outside.record == "result.json"


def test_a_fingerprint_stays_while_numbers_change_and_tells_requirements_apart(
    repository: Repository,
) -> None:
    def fingerprints(run: CIRun) -> list[str]:
        found = read(run, repository)["results"]
        return [one["partialFingerprints"]["primaryLocationLineHash"] for one in found]

    assert fingerprints(attacked(FAILS)) == fingerprints(attacked("robust_accuracy( linf:4/255 )>=0.95"))
    assert fingerprints(attacked(FAILS)) == fingerprints(failed(FAILS))
    several = attacked(FAILS, UNDECIDED, "robust_accuracy(linf:4/255, scope=sample) >= 0.9", FAR)
    assert len(set(fingerprints(several))) == 4


def test_a_byte_that_is_no_text_is_no_error(repository: Repository) -> None:
    broken = "robust_accuracy(linf:4/255, model=caf\udce9) >= 0.9"
    written = sarif(attacked(broken), repository)
    assert written.encode()
    fingerprints = {
        one["partialFingerprints"]["primaryLocationLineHash"]
        for text in (broken, broken.replace("\udce9", "\udce8"))
        for one in json.loads(sarif(attacked(text), repository))["runs"][0]["results"]
    }
    assert len(fingerprints) == 2


def test_what_attacks_left_is_a_rule_of_its_own(repository: Repository) -> None:
    (found,) = read(attacked("attacked_accuracy(linf:4/255) >= 0.9"), repository)["results"]
    assert (found["ruleId"], found["level"]) == ("attacked_accuracy", "error")


def test_a_run_that_broke_off_says_so_and_closes_no_alert(repository: Repository) -> None:
    run = read(failed(PASSES, FAR, reason="the model gives NaN"), repository)
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is False
    assert invocation["exitCode"] == 5
    assert invocation["toolExecutionNotifications"][0]["message"]["text"] == "the model gives NaN"
    assert [(one["level"], one["properties"]["requirement"]) for one in run["results"]] == [
        ("warning", PASSES),
        ("warning", FAR),
    ]


def test_the_invocation_has_the_exit_code(runs: dict[str, CIRun], repository: Repository) -> None:
    codes = {
        name: read(run, repository)["invocations"][0]["exitCode"]
        for name, run in runs.items()
        if name not in ("broke off", "control characters")
    }
    assert codes == {
        "passed": 0,
        "failed": 1,
        "undecided": 3,
        "warned": 0,
        "nothing required": 0,
        "nothing of it": 3,
        "contradiction": 4,
        "suspect": 3,
        "drill": 3,
        "mismatch": 4,
    }


def test_runs_of_one_verb_are_one_category(repository: Repository) -> None:
    run = read(attacked(FAILS), repository)
    assert run["automationDetails"]["id"] == "quintain/attack/2026-11-24-attack"


def test_every_metric_has_a_rule_within_githubs_limits() -> None:
    assert {*(metric.value for metric in Metric), ATTACKED_ACCURACY} <= set(RULES)
    for name, rule in RULES.items():
        assert rule.name.lower() != name
        assert 0 < len(rule.summary) <= 1024
        assert 0 < len(rule.help) <= 1024
        assert len(rule.tags) <= 10
        assert not rule.severity or 0 < float(rule.severity) <= 10
        assert set(rule.taxa) <= set(TAXA)
    assert {taxon for rule in RULES.values() for taxon in rule.taxa} == set(TAXA)
    assert "external/cwe/cwe-1039" in RULES["robust_accuracy"].tags


def test_taxa_are_found_by_the_place_that_names_them(repository: Repository) -> None:
    run = read(attacked(FAILS), repository)
    for taxon in run["results"][0]["taxa"]:
        taxonomy = run["taxonomies"][taxon["toolComponent"]["index"]]
        assert taxonomy["name"] == taxon["toolComponent"]["name"]
        assert taxon["id"] in {one["id"] for one in taxonomy["taxa"]}
