"""The final table, and what a reader sees first."""

from dataclasses import replace

from quintain.core.registry import get_entry
from quintain.report import count_verdicts, key_rows
from quintain.report.key_claims import VerdictCounts
from quintain.report.run_results import RunResults
from quintain.results.privacy_records import (
    AuditResult,
)
from quintain.results.records import Claim, Record, RequirementResult
from quintain.results.robustness_records import (
    AttackResult,
)
from quintain.results.verdict import Decision, Verdict
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


def test_the_later_of_two_claims_with_one_name_counts() -> None:
    first, second = (accuracy("net:linf:4/255", "Robust accuracy, net", None, upper) for upper in (400, 390))
    run = RunResults.of((record(AttackResult(()), (first,)), record(AttackResult(()), (second,))))
    assert run.claims == (second,)


def test_of_two_claims_on_one_quantity_the_fuller_is_shown() -> None:
    full = accuracy("net:linf:4/255", "Robust accuracy, net", 300, 400)
    half = accuracy("net:attack", "Robust accuracy, net", None, 400)
    for order in ((full, half), (half, full)):
        assert [claim.name for claim in RunResults.of((record(AttackResult(()), order),)).key_claims()] == [
            "net:linf:4/255"
        ]


def test_the_required_size_is_the_key_claim() -> None:
    claims = tuple(
        accuracy(f"net:linf:{size}", "Robust accuracy, net", 300, 400, token=f"linf:{size}")
        for size in ("1/255", "3/255", "9/255")
    )
    run = RunResults.of((record(AttackResult(()), claims),))
    assert [claim.name for claim in run.key_claims()] == ["net:linf:3/255"]
    judged = (
        RequirementResult(
            "robust_accuracy(linf:9/255) >= 0.9", Verdict(Decision.FAIL, "no"), "net:linf:9/255"
        ),
    )
    asked = record(AttackResult(()), claims, judged=judged)
    assert [claim.name for claim in RunResults.of((asked,)).key_claims()] == ["net:linf:9/255"]
    assert key_rows((asked,))[0].label == "FAIL"


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


def test_the_usual_size_of_a_threat_is_that_of_its_registered_entry() -> None:
    usual = get_entry("threat", "linf").fact("usual")
    claims = tuple(
        accuracy(f"net:linf:{size}", "Robust accuracy, net", 300, 400, token=f"linf:{size}")
        for size in ("1/255", "2/255", "3/255", usual.partition(":")[2])
    )
    run = RunResults.of((record(AttackResult(()), claims),))
    assert [claim.bracket.quantity.threat for claim in run.key_claims()] == [usual]


def test_key_claims_come_by_metric_then_by_threat_the_primary_one_first() -> None:
    def of(name: str, **more: object) -> Claim:
        return accuracy(name, "Robust accuracy, net", 300, 400, token=name.partition(":")[2], **more)

    claims = (of("a:l2:0.5"), of("a:patch:area=5%"), of("b:linf:4/255", primary=True), of("b:l2:0.5"))
    run = RunResults.of((record(AttackResult(()), claims),))
    names = [claim.name for claim in run.key_claims()]
    assert names == ["b:linf:4/255", "a:l2:0.5", "b:l2:0.5", "a:patch:area=5%"]
    assert run.primary_threat == "linf:4/255"
    assert RunResults.of((record(AttackResult(()), claims[:2]),)).primary_threat == "l2:0.5"
