"""Claims as rows of the final table, and what is said first of each."""

from dataclasses import replace

from quintain.report import count_verdicts, key_rows
from quintain.report.claim_rows import VerdictCounts
from quintain.results.privacy_records import (
    AuditResult,
)
from quintain.results.records import Record
from quintain.results.robustness_records import (
    AttackResult,
)
from tests.report.support.claims import accuracy, clean, tallies
from tests.report.support.sample import record


def test_the_table_of_the_drill(records: tuple[Record, ...]) -> None:
    found = {row.name: row for row in key_rows(records)}
    assert list(found) == [
        "plain:linf:4/255",
        "adversarial:linf:4/255",
        "certified:linf:4/255",
        "smoothed:l2:0.5",
        "private:epsilon audited",
    ]
    certified = found["certified:linf:4/255"]
    assert (
        certified.title,
        certified.lower,
        certified.interval,
        certified.upper,
        certified.baseline,
        certified.label,
        certified.tone,
    ) == (
        "Robust accuracy, certified training, Linf 4/255",
        "certified 72.9 %",
        "69.2 .. 77.3 %",
        "attacked 73.9 %",
        "62.5 %",
        "PASS",
        "good",
    )
    private = found["private:epsilon audited"]
    assert (private.lower, private.interval, private.upper, private.baseline) == (
        "audited 0.93",
        "0.93 .. 3.00",
        "accounted 3.00",
        "",
    )
    assert found["adversarial:linf:4/255"].label == "gap includes the majority class"


def test_verdicts_are_counted(records: tuple[Record, ...]) -> None:
    assert count_verdicts(records) == VerdictCounts(
        failed=0, passed=2, undecided=1, contradictions=0, suspects=0, failures=0
    )


def test_a_crossing_outweighs_a_verdict() -> None:
    claim = accuracy("net:linf:4/255", "Robust accuracy, net", 480, 461)
    one = key_rows((record(AttackResult(()), (claim,)),))[0]
    assert (one.label, one.tone) == ("CONTRADICTION", "bad")
    assert count_verdicts((record(AttackResult(()), (claim,)),)).contradictions == 1


def test_a_model_not_above_the_majority_class_says_so() -> None:
    below = accuracy("net:linf:4/255", "Robust accuracy, net", 0, 372)
    above = accuracy("net:linf:2/255", "Robust accuracy, net", 455, 461, token="linf:2/255")
    assert key_rows((record(AttackResult(()), (below,)),))[0].label == "not above the majority class"
    assert key_rows((record(AttackResult(()), (above,)),))[0].label == "above the majority class"


def test_clean_accuracy_is_shown_where_there_is_nothing_else() -> None:
    lone = record(AttackResult(()), (clean("plain", tallies()["plain"]),))
    assert key_rows((lone,))[0].lower == key_rows((lone,))[0].upper == "correct 86.1 %"


def test_a_trivial_side_says_what_it_is() -> None:
    claim = accuracy("net:linf:4/255", "Robust accuracy, net", None, None)
    one = key_rows(
        (record(AttackResult(()), (replace(claim, bracket=replace(claim.bracket, baseline=None)),)),)
    )[0]
    assert (one.lower, one.upper, one.baseline, one.label) == ("not certified", "not attacked", "", "")


def test_a_mechanism_that_is_not_what_was_claimed_voids_its_epsilon(records: tuple[Record, ...]) -> None:
    audit = next(one for one in records if isinstance(one.result, AuditResult))
    assert isinstance(audit.result, AuditResult)
    halved = replace(audit.result.mechanism_tests[0], measured=0.56, p_value=1e-30, passed=False)
    wrong = (replace(audit, result=replace(audit.result, mechanism_tests=(halved,))),)
    assert count_verdicts(wrong).failures == 1
    assert key_rows(wrong)[0].label == "MECHANISM MISMATCH"
