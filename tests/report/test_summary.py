"""The final table, and what a reader sees first."""

from dataclasses import replace

from quintain.report import rows, verdicts
from quintain.report.run import Run
from quintain.report.summary import Verdicts
from quintain.results.privacy_records import AuditResult
from quintain.results.records import Record, RequirementResult
from quintain.results.robustness_records import AttackResult
from quintain.results.verdict import Decision, Verdict

from .sample import accuracy, clean, record, tallies


def test_the_table_of_the_drill(records: tuple[Record, ...]) -> None:
    found = {row.name: row for row in rows(records)}
    assert list(found) == [
        "plain:linf:4/255",
        "adversarial:linf:4/255",
        "certified:linf:4/255",
        "smoothed:l2:0.5",
        "private:epsilon audited",
    ]
    certified = found["certified:linf:4/255"]
    assert (certified.what, certified.lower, certified.true, certified.upper, certified.baseline, certified.verdict, certified.tone) == (
        "Robust accuracy, certified training, Linf 4/255",
        "proved 72.9 %",
        "69.2 .. 77.3 %",
        "attacked 73.9 %",
        "62.5 %",
        "HOLDS",
        "good",
    )
    private = found["private:epsilon audited"]
    assert (private.lower, private.true, private.upper, private.baseline) == ("audited 0.93", "0.93 .. 3.00", "accounted 3.00", "")
    assert found["adversarial:linf:4/255"].verdict == "open"


def test_verdicts_are_counted(records: tuple[Record, ...]) -> None:
    assert verdicts(records) == Verdicts(broken=0, hold=2, undecided=1, contradictions=0, suspects=0, failures=0)


def test_a_crossing_outweighs_a_verdict() -> None:
    claim = accuracy("net:linf:4/255", "Robust accuracy, net", 480, 461)
    one = rows((record(AttackResult(()), (claim,)),))[0]
    assert (one.verdict, one.tone) == ("CONTRADICTION", "bad")
    assert verdicts((record(AttackResult(()), (claim,)),)).contradictions == 1


def test_a_model_no_better_than_a_constant_says_so() -> None:
    below = accuracy("net:linf:4/255", "Robust accuracy, net", 0, 372)
    above = accuracy("net:linf:2/255", "Robust accuracy, net", 455, 461, token="linf:2/255")
    assert rows((record(AttackResult(()), (below,)),))[0].verdict == "no better than a constant"
    assert rows((record(AttackResult(()), (above,)),))[0].verdict == "above a constant"


def test_the_later_of_two_claims_with_one_name_counts() -> None:
    first, second = (accuracy("net:linf:4/255", "Robust accuracy, net", None, upper) for upper in (400, 390))
    run = Run.of((record(AttackResult(()), (first,)), record(AttackResult(()), (second,))))
    assert run.claims == (second,)


def test_of_two_claims_on_one_quantity_the_fuller_is_shown() -> None:
    full = accuracy("net:linf:4/255", "Robust accuracy, net", 300, 400)
    half = accuracy("net:attack", "Robust accuracy, net", None, 400)
    for order in ((full, half), (half, full)):
        assert [claim.name for claim in Run.of((record(AttackResult(()), order),)).headline()] == ["net:linf:4/255"]


def test_the_size_that_was_asked_about_is_the_headline() -> None:
    claims = tuple(
        accuracy(f"net:linf:{size}", "Robust accuracy, net", 300, 400, token=f"linf:{size}") for size in ("1/255", "3/255", "9/255")
    )
    run = Run.of((record(AttackResult(()), claims),))
    assert [claim.name for claim in run.headline()] == ["net:linf:3/255"]
    judged = (RequirementResult("robust_accuracy(linf:9/255) >= 0.9", Verdict(Decision.FAIL, "no"), "net:linf:9/255"),)
    asked = record(AttackResult(()), claims, judged=judged)
    assert [claim.name for claim in Run.of((asked,)).headline()] == ["net:linf:9/255"]
    assert rows((asked,))[0].verdict == "BROKEN"


def test_clean_accuracy_is_shown_where_there_is_nothing_else() -> None:
    lone = record(AttackResult(()), (clean("plain", tallies()["plain"]),))
    assert rows((lone,))[0].lower == rows((lone,))[0].upper == "right 86.1 %"


def test_a_trivial_side_says_what_it_is() -> None:
    claim = accuracy("net:linf:4/255", "Robust accuracy, net", None, None)
    one = rows((record(AttackResult(()), (replace(claim, bracket=replace(claim.bracket, baseline=None)),)),))[0]
    assert (one.lower, one.upper, one.baseline, one.verdict) == ("nothing proved", "not attacked", "", "")


def test_a_mechanism_that_is_not_what_was_claimed_voids_its_epsilon(records: tuple[Record, ...]) -> None:
    audit = next(one for one in records if isinstance(one.result, AuditResult))
    assert isinstance(audit.result, AuditResult)
    halved = replace(audit.result.mechanism_tests[0], measured=0.56, p_value=1e-30, passed=False)
    wrong = (replace(audit, result=replace(audit.result, mechanism_tests=(halved,))),)
    assert verdicts(wrong).failures == 1
    assert rows(wrong)[0].verdict == "SPECIFICATION FAILURE"
