"""The top of the page: alarms first, then the key claims."""

from dataclasses import replace
from pathlib import Path

from quintain.report import render
from quintain.report.overview import overview
from quintain.report.run_results import RunResults
from quintain.results.class_counts import ClassCounts
from quintain.results.evidence import CountEvidence
from quintain.results.privacy_records import (
    AuditResult,
)
from quintain.results.quantity import Basis
from quintain.results.records import Claim, Record
from quintain.results.robustness_records import (
    AttackResult,
)
from tests.report.support.claims import accuracy, clean
from tests.report.support.reading import Page
from tests.report.support.sample import record, record_of


def test_a_contradiction_is_loud_and_comes_first(records: tuple[Record, ...], folder: Path) -> None:
    wrong = accuracy("certified:linf:4/255", "Robust accuracy, certified training", 480, 461)
    page = Page(render((record(AttackResult(()), (wrong,)), *records[-1:]), folder))
    alarm = [attributes for _, attributes in page.tags if attributes.get("role") == "alert"]
    assert len(alarm) == 1
    assert "1 claim contradicts itself: some code is wrong" in page.text
    assert page.text.index("contradicts itself") < page.text.index("passed")
    assert "bounds consistent" not in page.text
    assert "both certified and broken 19" in page.text
    assert any("clash" in attributes.get("class", "") for _, attributes in page.tags)


def test_a_mechanism_mismatch_is_as_loud(records: tuple[Record, ...], folder: Path) -> None:
    audit = record_of(records, AuditResult)
    assert isinstance(audit.result, AuditResult)
    halved = replace(audit.result.mechanism_tests[0], measured=0.56, p_value=1e-30, passed=False)
    page = Page(render((replace(audit, result=replace(audit.result, mechanism_tests=(halved,))),), folder))
    assert len([attributes for _, attributes in page.tags if attributes.get("role") == "alert"]) == 1
    assert "no epsilon on this page can be relied on" in page.text
    assert "bounds consistent" not in page.text
    assert "MECHANISM MISMATCH" in page.text


def test_an_overwritten_contradiction_is_still_shown(folder: Path) -> None:
    wrong = accuracy("certified:linf:4/255", "Robust accuracy", 480, 461)
    right = accuracy("certified:linf:4/255", "Robust accuracy", 455, 461)
    page = Page(render((record(AttackResult(()), (wrong,)), record(AttackResult(()), (right,))), folder))
    assert "1 claim contradicts itself" in page.text


def test_a_suspect_claim_asks_for_a_rerun(folder: Path) -> None:
    claim = accuracy("smoothed:l2:0.5", "Robust accuracy", 50, 49, trials=100, token="l2:0.5")
    lower = replace(claim.bracket.lower, basis=Basis.STATISTICAL, evidence=CountEvidence(50, 100, 0.001))
    page = Page(
        render(
            (record(AttackResult(()), (replace(claim, bracket=replace(claim.bracket, lower=lower)),)),),
            folder,
        )
    )
    assert "1 bracket crosses within statistical error: rerun with another seed" in page.text
    assert "SUSPECT" in page.text


def test_a_claim_of_clean_accuracy_comes_alone_only(records: tuple[Record, ...], folder: Path) -> None:
    tally = ClassCounts((161, 360), (234, 390))
    lone: Claim = clean("certified", tally)
    assert "correct 83.5 %" in Page(render((record(AttackResult(()), (lone,)),), folder)).text
    heads = [attributes for name, attributes in Page(render(records, folder)).tags if name == "article"]
    assert len(heads) == 5


def test_a_drill_that_is_judged_again_keeps_the_facts_of_its_run(records: tuple[Record, ...]) -> None:
    again = replace(records[-1], provenance=replace(records[-1].provenance, threads=9, device="cuda"))
    facts = overview(RunResults.of((*records[:-1], again))).facts
    assert "3 min 41 s on 2 threads, cpu" in facts
