"""The claims at the top of the report, and the threat that models are compared at."""

from quintain.core.registry import get_entry
from quintain.report import key_rows
from quintain.report.key_claims import key_claims, primary_threat
from quintain.report.run_results import RunResults
from quintain.results.records import Claim, RequirementResult
from quintain.results.robustness_records import (
    AttackResult,
)
from quintain.results.verdict import Decision, Verdict
from tests.report.support.claims import accuracy
from tests.report.support.sample import record


def test_the_later_of_two_claims_with_one_name_counts() -> None:
    first, second = (accuracy("net:linf:4/255", "Robust accuracy, net", None, upper) for upper in (400, 390))
    run = RunResults.of((record(AttackResult(()), (first,)), record(AttackResult(()), (second,))))
    assert run.claims == (second,)


def test_of_two_claims_on_one_quantity_the_fuller_is_shown() -> None:
    full = accuracy("net:linf:4/255", "Robust accuracy, net", 300, 400)
    half = accuracy("net:attack", "Robust accuracy, net", None, 400)
    for order in ((full, half), (half, full)):
        assert [claim.name for claim in key_claims(RunResults.of((record(AttackResult(()), order),)))] == [
            "net:linf:4/255"
        ]


def test_the_required_size_is_the_key_claim() -> None:
    claims = tuple(
        accuracy(f"net:linf:{size}", "Robust accuracy, net", 300, 400, token=f"linf:{size}")
        for size in ("1/255", "3/255", "9/255")
    )
    run = RunResults.of((record(AttackResult(()), claims),))
    assert [claim.name for claim in key_claims(run)] == ["net:linf:3/255"]
    judged = (
        RequirementResult(
            "robust_accuracy(linf:9/255) >= 0.9", Verdict(Decision.FAIL, "no"), "net:linf:9/255"
        ),
    )
    required = record(AttackResult(()), claims, judged=judged)
    assert [claim.name for claim in key_claims(RunResults.of((required,)))] == ["net:linf:9/255"]
    assert key_rows((required,))[0].label == "FAIL"


def test_the_usual_size_of_a_threat_is_that_of_its_registered_entry() -> None:
    usual = get_entry("threat", "linf").fact("usual")
    claims = tuple(
        accuracy(f"net:linf:{size}", "Robust accuracy, net", 300, 400, token=f"linf:{size}")
        for size in ("1/255", "2/255", "3/255", usual.partition(":")[2])
    )
    run = RunResults.of((record(AttackResult(()), claims),))
    assert [claim.bracket.quantity.threat for claim in key_claims(run)] == [usual]


def test_key_claims_come_by_metric_then_by_threat_the_primary_one_first() -> None:
    def of(name: str, **more: object) -> Claim:
        return accuracy(name, "Robust accuracy, net", 300, 400, token=name.partition(":")[2], **more)

    claims = (of("a:l2:0.5"), of("a:patch:area=5%"), of("b:linf:4/255", primary=True), of("b:l2:0.5"))
    run = RunResults.of((record(AttackResult(()), claims),))
    names = [claim.name for claim in key_claims(run)]
    assert names == ["b:linf:4/255", "a:l2:0.5", "b:l2:0.5", "a:patch:area=5%"]
    assert primary_threat(run) == "linf:4/255"
    assert primary_threat(RunResults.of((record(AttackResult(()), claims[:2]),))) == "l2:0.5"
