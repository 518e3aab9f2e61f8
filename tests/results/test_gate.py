"""What requirements decide about a run, and the exit code that they make."""

from dataclasses import replace
from pathlib import Path

import pytest

from quintain.core.errors import ExitCode
from quintain.results import Basis, Bound, Bracket, CountEvidence, Quantity, Requirement, Side, decide
from quintain.results.codec import load
from quintain.results.gate import NOTHING_DONE, is_measured, run_verdict, same_threat
from quintain.results.literals import CLEAN_ERRORS_ONLY
from quintain.results.quantity import Metric
from quintain.results.records import Claim, SkippedResult
from quintain.results.robustness_records import (
    AttackDiagnostics,
    AttackResult,
    CheckResult,
    Finding,
    Indicator,
)
from quintain.results.verdict import Decision, RunVerdict
from tests.results.support.claims import claim

GOLDEN = Path(__file__).parent / "golden"
CLAIMS = [claim(0, 600, model="plain", delivered=False), claim(800, 810)]


@pytest.mark.parametrize(
    ("text", "answer", "code"),
    [
        ("robust_accuracy(linf:4/255) >= 0.75", Decision.PASS, ExitCode.OK),
        ("robust_accuracy(linf:4/255) >= 0.80", Decision.UNDECIDED, ExitCode.UNDECIDED),
        ("robust_accuracy(linf:4/255, scope=sample) >= 0.80", Decision.PASS, ExitCode.OK),
        ("robust_accuracy(linf:4/255) >= 0.90", Decision.FAIL, ExitCode.FAILED),
        ("robust_accuracy(linf:4/255, model=plain) >= 0.70", Decision.FAIL, ExitCode.FAILED),
        ("robust_accuracy(linf:8/255) >= 0.10", Decision.UNDECIDED, ExitCode.UNDECIDED),
        ("epsilon <= 3", Decision.UNDECIDED, ExitCode.UNDECIDED),
    ],
)
def test_the_gate(text, answer, code):
    judged = decide(Requirement.parse(text), CLAIMS)
    assert judged.verdict.decision is answer
    assert run_verdict([judged], CLAIMS).exit_code == code


def decided(*texts):
    return [decide(Requirement.parse(text), CLAIMS) for text in texts]


AUDIT = load(GOLDEN / "schema-2-audit.json").result
VOID = replace(AUDIT, mechanism_tests=tuple(replace(one, passed=False) for one in AUDIT.mechanism_tests))
PASSES, OPEN, FAILS = (f"robust_accuracy(linf:4/255) >= {value}" for value in (0.75, 0.8, 0.9))


@pytest.mark.parametrize(
    ("texts", "undecided", "verdict"),
    [
        ((), "fail", RunVerdict("OK", 0, "no requirement was decided")),
        ((PASSES,), "fail", RunVerdict("OK", 0, "1 of 1 requirement passed")),
        ((PASSES, OPEN), "fail", RunVerdict("UNDECIDED", 3, "1 of 2 requirements undecided")),
        ((PASSES, OPEN), "warn", RunVerdict("UNDECIDED", 0, "1 of 2 requirements undecided", "warn")),
        ((OPEN, FAILS), "warn", RunVerdict("FAILED", 1, "1 of 2 requirements failed", "warn")),
    ],
)
def test_the_verdict_on_a_run_is_its_worst_requirement(texts, undecided, verdict):
    found = run_verdict(decided(*texts), CLAIMS, undecided=undecided)
    assert found == verdict
    assert found.is_warning == (verdict.outcome == "UNDECIDED" and undecided == "warn")


@pytest.mark.parametrize(
    ("result", "outcome", "reason"),
    [
        (
            CheckResult((Finding("labels", "error", "no label"), Finding("range", "ok", "")), (), (), ()),
            "EXECUTION",
            "errors were found in labels",
        ),
        (
            CheckResult((Finding("labels", "warning", "few"),), (), (), ()),
            "FAILED",
            "1 of 1 requirement failed",
        ),
        (
            load(GOLDEN / "schema-2-every-field-attack.json").result,
            "EXECUTION",
            "the run stopped early: halted 85",
        ),
        (VOID, "ALARM", "noise is not what was claimed"),
    ],
)
def test_what_failed_in_the_work_is_worse_than_a_failed_requirement(result, outcome, reason):
    found = run_verdict(decided(FAILS), CLAIMS, [result])
    assert (found.outcome, found.exit_code, found.reason) == (outcome, ExitCode[outcome], reason)


def attacked(hits, *, lower=0, alpha=0.0, method="pgd", **words):
    found = claim(lower, hits)
    upper = replace(found.bracket.upper, method=method, evidence=CountEvidence(hits, 1000, alpha))
    return replace(found, bracket=replace(found.bracket, upper=upper, **words))


def diagnosed(diagnostics, **words):
    """A step that attacked the model of the claims."""
    (stored,) = load(GOLDEN / "schema-2-every-field-attack.json").result.models
    named = {"model": "certified", "threat_type": "linf", "stop_reason": "", **words}
    return AttackResult((replace(stored, diagnostics=diagnostics, **named),))


SIGN = Indicator("zero gradients", 1.0, 0.05, True, "the gradient is zero on 100 % of the examples")
FEW = "19 queries per example, below the 500 that square needs"
TRUSTED, DOUBTFUL = diagnosed(AttackDiagnostics((), 50)), diagnosed(AttackDiagnostics((SIGN,), 50))
NOT_JUDGED = diagnosed(AttackDiagnostics((), 0, FEW))
LEFT_HALF = "attacked_accuracy(linf:4/255) >= 0.5"
POPULATION = "attacked_accuracy(linf:4/255, scope=population) >= 0.5"


@pytest.mark.parametrize(
    ("text", "found", "decision"),
    [
        (LEFT_HALF, attacked(500), Decision.PASS),
        (LEFT_HALF, attacked(499), Decision.FAIL),
        (LEFT_HALF, attacked(800, num_invalid=1), Decision.UNDECIDED),
        (LEFT_HALF, attacked(800, lower=700, num_contradictory=1), Decision.UNDECIDED),
        (LEFT_HALF, attacked(499, num_invalid=1), Decision.FAIL),
        (LEFT_HALF, attacked(900, method=CLEAN_ERRORS_ONLY), Decision.UNDECIDED),
        (LEFT_HALF.replace(">=", "<="), attacked(500), Decision.PASS),
        (POPULATION, attacked(510), Decision.UNDECIDED),
        (POPULATION, attacked(550), Decision.PASS),
        (POPULATION, attacked(450), Decision.FAIL),
        (LEFT_HALF, attacked(500, alpha=0.002), Decision.PASS),
        (LEFT_HALF, attacked(498, alpha=0.002), Decision.UNDECIDED),
        (LEFT_HALF, attacked(490, alpha=0.002), Decision.FAIL),
    ],
)
def test_attacked_accuracy_is_decided_by_what_the_attacks_left(text, found, decision):
    one = decide(Requirement.parse(text), [found], [TRUSTED])
    assert one.verdict.decision is decision
    hits = found.bracket.upper.evidence.hits
    if found.bracket.upper.method == CLEAN_ERRORS_ONLY:
        assert "nothing was attacked at linf:4/255; use quintain evaluate" in one.verdict.reason
    else:
        assert one.verdict.reason.startswith(f"model=certified: attacks left {hits} of 1000 examples: ")
        assert "this is no robust accuracy, since a stronger attack may leave less" in one.verdict.reason


def test_an_attack_alone_decides_attacked_accuracy_and_never_that_a_model_is_robust():
    left = attacked(800)
    texts = [f"{name}(linf:4/255, scope=sample) >= 0.5" for name in ("attacked_accuracy", "robust_accuracy")]
    answers = [decide(Requirement.parse(text), [left], [TRUSTED]).verdict.decision for text in texts]
    assert answers == [Decision.PASS, Decision.UNDECIDED]


@pytest.mark.parametrize(
    ("results", "told"),
    [
        (
            (DOUBTFUL,),
            "but trust is doubtful, because the gradient is zero on 100 % of the examples; the attacks",
        ),
        (
            (NOT_JUDGED,),
            f"but trust is not judged: {FEW}; more queries (--max-queries, or --minutes of a drill)",
        ),
        ((diagnosed(None),), "but trust is not judged: the run holds no diagnostics of these attacks; "),
        ((), "but trust is not judged: the run holds no diagnostics of these attacks; "),
        ((diagnosed(AttackDiagnostics((), 50), model="plain"),), "not judged: the run holds no diagnostics"),
        (
            (diagnosed(AttackDiagnostics((), 50), threat_type="l2"),),
            "not judged: the run holds no diagnostics",
        ),
        ((TRUSTED, DOUBTFUL), "but trust is doubtful"),
    ],
)
def test_what_weak_attacks_left_passes_no_requirement_and_fails_it_all_the_same(results, told):
    left = decide(Requirement.parse(LEFT_HALF), [attacked(800)], results).verdict
    assert left.decision is Decision.UNDECIDED
    assert left.reason.startswith("model=certified: attacks left 800 of 1000 examples: between 0.8 and 0.8")
    assert told in left.reason
    assert left.reason.endswith("may show it, or a certificate (quintain evaluate)")
    lost = decide(Requirement.parse(LEFT_HALF), [attacked(400)], results).verdict
    assert lost.decision is Decision.FAIL
    at_most = decide(Requirement.parse(LEFT_HALF.replace(">=", "<=")), [attacked(400)], results).verdict
    assert at_most.decision is Decision.PASS


@pytest.mark.parametrize(("certified", "decision"), [(500, Decision.PASS), (499, Decision.UNDECIDED)])
def test_what_is_certified_needs_no_trust_in_attacks(certified, decision):
    asked = Requirement.parse(LEFT_HALF)
    assert decide(asked, [attacked(800, lower=certified)], [DOUBTFUL]).verdict.decision is decision


def test_what_is_undecided_for_want_of_one_side_says_what_would_decide_it():
    asked = Requirement.parse("robust_accuracy(linf:4/255) >= 0.75")
    both = attacked(900)
    trivial = Bound.trivial(both.bracket.quantity, Side.LOWER)
    alone = replace(both, bracket=replace(both.bracket, lower=trivial))
    reasons = [
        decide(asked, [one]).verdict.reason for one in (alone, attacked(900, method=CLEAN_ERRORS_ONLY), both)
    ]
    assert "; nothing is certified: quintain evaluate certifies what it can" in reasons[0]
    assert "; nothing was attacked: quintain evaluate certifies and attacks" in reasons[1]
    assert "quintain evaluate" not in reasons[2]
    failed = decide(Requirement.parse("robust_accuracy(linf:4/255) >= 0.99"), [alone]).verdict
    told = "model=certified: between 0 and 0.9153, required >= 0.99"
    assert (failed.decision, failed.reason) == (Decision.FAIL, told)


@pytest.mark.parametrize(
    ("text", "measured"),
    [
        ("robust_accuracy(linf:8/255) >= 0.5", True),
        ("robust_accuracy(l2:0.5) >= 0.5", False),
        ("attacked_accuracy(linf:4/255) >= 0.5", False),
        ("epsilon <= 3", False),
        ("clean_accuracy >= 0.5", False),
    ],
)
def test_a_run_measures_its_metrics_in_its_type_of_threat(text, measured):
    certified = attacked(900, method=CLEAN_ERRORS_ONLY)
    assert is_measured(Requirement.parse(text), [certified]) is measured
    assert is_measured(Requirement.parse("attacked_accuracy(linf:4/255) >= 0.5"), [attacked(900)])


def test_where_a_requirement_is_written_stands_in_its_result():
    stated = Requirement.parse(PASSES, path="pyproject.toml", line=7)
    assert (decide(stated, CLAIMS).path, decide(stated, CLAIMS).line) == ("pyproject.toml", 7)
    assert (decide(stated, []).path, decide(stated, []).line) == ("pyproject.toml", 7)


def private(epsilon, delta):
    of = Quantity(Metric.EPSILON, "plan", "data", delta=delta)
    return Claim(
        f"epsilon:{delta}",
        "Privacy",
        "private",
        Bracket(Bound.trivial(of, Side.LOWER), Bound(of, Side.UPPER, epsilon, Basis.PROOF)),
        True,
    )


@pytest.mark.parametrize("order", [1, -1])
def test_where_two_quantities_answer_to_the_same_words_both_must_hold(order):
    claims = [private(2.0, 1e-5), private(5.0, 1e-7)][::order]
    assert decide(Requirement.parse("epsilon <= 3"), claims).verdict.decision is Decision.UNDECIDED
    assert decide(Requirement.parse("epsilon <= 3"), claims).claim_name == "epsilon:1e-07"
    assert decide(Requirement.parse("epsilon(delta=1e-5) <= 3"), claims).verdict.decision is Decision.PASS
    assert decide(Requirement.parse("epsilon <= 6"), claims).verdict.decision is Decision.PASS


def test_of_two_claims_on_one_quantity_the_later_counts():
    earlier = claim(0, 810)
    asked = Requirement.parse("robust_accuracy(linf:4/255) >= 0.75")
    assert decide(asked, [earlier]).verdict.decision is Decision.UNDECIDED
    assert decide(asked, [earlier, CLAIMS[1]]).verdict.decision is Decision.PASS


def test_the_model_that_decided_is_named_where_it_is_not_the_only_one():
    asked = Requirement.parse("robust_accuracy(linf:4/255) >= 0.75")
    one = decide(asked, CLAIMS)
    assert one.model == "certified"
    assert one.verdict.reason.startswith("model=certified: between ")
    alone = decide(asked, [replace(CLAIMS[1], model="model")])
    assert (alone.model, alone.verdict.reason[:8]) == ("model", "between ")
    assert decide(Requirement.parse("epsilon <= 3"), CLAIMS).model == ""


def test_a_requirement_that_names_no_model_is_not_decided_by_another_model():
    beside = replace(private(2.0, 1e-5), primary=False)
    one = decide(Requirement.parse("epsilon(delta=1e-5) <= 3"), [*CLAIMS, beside])
    assert (one.verdict.decision, one.claim_name) == (Decision.UNDECIDED, "")
    assert one.verdict.reason == (
        "no result for epsilon(delta=1e-5) of the model that this run is about, but of private; if that is "
        "meant, name it: model=private"
    )
    named = decide(Requirement.parse("epsilon(delta=1e-5, model=private) <= 3"), [*CLAIMS, beside])
    assert (named.verdict.decision, named.model) == (Decision.PASS, "private")


def test_nothing_to_judge_says_what_was_measured():
    reason = decide(Requirement.parse("robust_accuracy(linf:8/255) >= 0.10"), CLAIMS).verdict.reason
    assert "this run has linf:4/255 (certified, plain)" in reason


def test_a_contradiction_is_worse_than_anything_else():
    crossed = replace(CLAIMS[1], bracket=replace(CLAIMS[1].bracket, num_contradictory=1))
    judged = decide(Requirement.parse("robust_accuracy(linf:4/255) >= 0.75"), [crossed])
    assert judged.verdict.decision is Decision.UNDECIDED
    assert run_verdict([judged], [crossed]).exit_code == ExitCode.ALARM


def test_a_suspect_crossing_leaves_a_requirement_open():
    bracket = CLAIMS[1].bracket
    votes = replace(bracket.lower, basis=Basis.STATISTICAL, evidence=CountEvidence(800, 1000, 0.001))
    sides = [
        replace(CLAIMS[1], bracket=replace(bracket, lower=votes, num_contradictory=crossed))
        for crossed in (0, 1)
    ]
    judged = [decide(Requirement.parse("robust_accuracy(linf:4/255) >= 0.75"), [one]) for one in sides]
    assert [one.verdict.decision for one in judged] == [Decision.PASS, Decision.UNDECIDED]
    for rule in ("fail", "warn"):
        assert run_verdict(judged[1:], sides[1:], undecided=rule).exit_code == ExitCode.UNDECIDED


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("linf:4/255", "linf:4/255", True),
        ("linf:1/5", "linf:0.2", True),
        ("colour:hue=0.1", "color:hue=0.1", True),
        (
            "compose:projection:0.2+patch:area=5%,place=0x1",
            "compose:light:0.2+patch:area=5%,position=0x1",
            True,
        ),
        ("linf: 8/510", "Linf:4/255", True),
        ("linf:4/255", "l2:4/255", False),
        ("linf:4/255", "linf:0.0157", False),
        ("l0:5", "l0:5.0", True),
        ("l0:5", "l0:6", False),
        ("mask:eyeglasses:1/2", "mask:eyeglasses:0.5", True),
        ("mask:eyeglasses:0.5", "mask:border:0.5", False),
        ("mask:eyeglasses:0.5", "mask:eyeglasses:0.3", False),
        ("mask:Glasses.png:0.5", "mask:glasses.png:1/2", False),
        ("patch:area=5%", "patch:area=5%", True),
        ("patch:area=5%", "patch:area=6%", False),
    ],
)
def test_two_spellings_of_one_threat(a, b, same):
    assert same_threat(a, b) is same


@pytest.mark.parametrize(
    ("text", "results", "decision"),
    [
        ("epsilon(delta=1e-5) <= 5", (AUDIT,), Decision.PASS),
        ("epsilon(delta=1e-5) <= 5", (VOID,), Decision.UNDECIDED),
        ("epsilon(delta=1e-5) <= 0.1", (VOID,), Decision.FAIL),
        ("robust_accuracy(linf:4/255) >= 0.75", (VOID,), Decision.PASS),
    ],
)
def test_no_epsilon_passes_whose_mechanism_is_not_what_was_claimed(text, results, decision):
    (private,) = load(GOLDEN / "schema-2-audit.json").claims
    upper = replace(private.bracket.upper, value=3.0, basis=Basis.PROOF)
    claims = [replace(private, bracket=replace(private.bracket, upper=upper)), *CLAIMS]
    found = decide(Requirement.parse(text), claims, results)
    assert found.verdict.decision is decision
    assert ("the accounted epsilon is void" in found.verdict.reason) == (decision is Decision.UNDECIDED)


SKIPPED, CHECKED = SkippedResult("leak", "no pictures", "give some"), CheckResult((), (), (), (1, 2, 2))


@pytest.mark.parametrize("undecided", ["fail", "warn"])
@pytest.mark.parametrize("results", [(SKIPPED,), (CHECKED, SKIPPED, SKIPPED)])
def test_a_drill_that_did_nothing_passes_no_gate(results, undecided):
    verdict = run_verdict([], [], results, undecided=undecided)
    assert verdict == RunVerdict("UNDECIDED", 3, NOTHING_DONE, undecided)


@pytest.mark.parametrize("results", [(), (CHECKED,), (CHECKED, SKIPPED, AUDIT)])
def test_a_drill_that_did_a_step_that_was_asked_for_did_something(results):
    assert run_verdict([], [], results).exit_code == ExitCode.OK
