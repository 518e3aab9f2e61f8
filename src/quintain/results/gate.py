"""Decide requirements by the claims of a run, and which exit code follows; this needs no torch."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, cast

from quintain.core.errors import ExitCode
from quintain.core.threat_specs import current_spec, parse_number, size_text, threat_type
from quintain.results.bounds import Bracket, Consistency
from quintain.results.literals import ONLY_MODEL
from quintain.results.privacy_records import AuditResult, LeakResult, MechanismTest
from quintain.results.quantity import Basis, Metric
from quintain.results.records import Claim, DrillResult, RequirementResult, SkippedResult, StepResult
from quintain.results.requirements import Requirement
from quintain.results.robustness_records import AttackResult, CheckResult, EvaluateResult
from quintain.results.under_attack import compare_with_limit, decide_under_attack, is_attacked
from quintain.results.verdict import Decision, Outcome, RunVerdict, UndecidedRule, Verdict

_WORST_FIRST = (Decision.FAIL, Decision.UNDECIDED, Decision.PASS)

NOTHING_DONE = "nothing was done: no step of the drill can be done as it stands"
"""The reason of the verdict on a drill that skipped all its steps."""


class Judgment(NamedTuple):
    """The decision on each requirement of a run, the verdict on the run, and the requirements not checked."""

    requirements: tuple[RequirementResult, ...]
    verdict: RunVerdict
    not_checked: tuple[str, ...]


def decide(
    requirement: Requirement, claims: Iterable[Claim], results: Iterable[StepResult] = ()
) -> RequirementResult:
    """Decide one requirement; it is UNDECIDED if no claim is about it.

    Of two claims on one quantity the later one counts. Where a requirement covers several quantities, such as
    two deltas when it names none, all of them must pass. No requirement on epsilon passes where a mechanism
    test failed: the mechanism is then another than the one that was accounted for. The reason names the model
    whose claim decided, where it is not the only one of the run.

    Args:
        requirement: What is required.
        claims: All claims of the run.
        results: Result of each step of the run.
    """
    claims, results = tuple(claims), tuple(results)
    found = [claim for claim in claims if _is_about(claim, requirement)]
    if not found:
        verdict = Verdict(Decision.UNDECIDED, _missing_reason(requirement, claims))
        return _requirement_result(requirement, verdict, "")
    latest = {claim.bracket.quantity: claim for claim in found}.values()
    worst = min(
        (_decide_by_claim(requirement, claim, results) for claim in latest),
        key=lambda result: _WORST_FIRST.index(result.verdict.decision),
    )
    if {claim.model for claim in claims} != {ONLY_MODEL}:
        reason = f"model={worst.model}: {worst.verdict.reason}"
        worst = replace(worst, verdict=replace(worst.verdict, reason=reason))
    mismatches = mechanism_mismatches(results) if requirement.metric is Metric.EPSILON else ()
    if mismatches and worst.verdict.passed:
        names = ", ".join(test.name for test in mismatches)
        reason = f"{names}: measured to be another than was claimed, so that the accounted epsilon is void"
        return replace(worst, verdict=Verdict(Decision.UNDECIDED, reason))
    return worst


def _missing_reason(requirement: Requirement, claims: Sequence[Claim]) -> str:
    """Return why a requirement has no claim, and what the run has measured in the same metric."""
    quantity = requirement.text.partition(requirement.relation)[0].strip()
    others = sorted(
        {claim.model for claim in claims if not requirement.model and _is_of_quantity(claim, requirement)}
    )
    if others:
        return (
            f"no result for {quantity} of the model that this run is about, but of {', '.join(others)}; if "
            f"that is meant, name it: model={others[0]}"
        )
    same_metric = [claim for claim in claims if claim.bracket.quantity.metric is requirement.metric]
    models = sorted({claim.model for claim in same_metric})
    threats = sorted({claim.bracket.quantity.threat for claim in same_metric} - {""})
    rates = sorted({claim.bracket.quantity.fpr or 0.0 for claim in same_metric} - {0.0})
    which = threats or [f"fpr={100 * rate:g}%" for rate in rates]
    what = f"{', '.join(which)} ({', '.join(models)})" if which else f"that of {', '.join(models)}"
    measured = f"; this run has {what}" if models else ""
    return f"no result for {quantity}{measured}"


def judge(
    requirements: Sequence[Requirement],
    claims: Sequence[Claim],
    results: Sequence[StepResult],
    *,
    undecided: UndecidedRule = "fail",
    unfinished: str = "",
) -> Judgment:
    """Decide what is required of a run, and return the verdict on it.

    Requirements of the command line are always decided, those of the project only if the run measures their
    quantity. All requirements on an unfinished run are undecided, since what it has not done yet might change
    the decision.

    Args:
        requirements: Requirements of the project and of the command line.
        claims: Every claim of the run.
        results: Result of each step of the run.
        undecided: What an undecided requirement does to the exit code.
        unfinished: Why the run was not finished; empty where it was.
    """
    # only requirements of the project have a path
    checked = [one for one in requirements if unfinished or not one.path or is_measured(one, claims)]
    not_checked = tuple(one.text for one in requirements if one not in checked)
    if unfinished:
        undecided_verdict = Verdict(Decision.UNDECIDED, unfinished)
        decided = tuple(_requirement_result(one, undecided_verdict, "") for one in checked)
        verdict = run_verdict((), claims, results, undecided=undecided)
        if verdict.outcome not in ("ALARM", "EXECUTION"):
            verdict = _make_verdict(ExitCode.INTERRUPTED, unfinished, undecided)
        return Judgment(decided, verdict, not_checked)
    decided = tuple(decide(one, claims, results) for one in checked)
    return Judgment(decided, run_verdict(decided, claims, results, undecided=undecided), not_checked)


def run_verdict(
    requirements: Iterable[RequirementResult],
    claims: Sequence[Claim],
    results: Iterable[StepResult] = (),
    *,
    undecided: UndecidedRule = "fail",
) -> RunVerdict:
    """Return the verdict on a whole run, which is that of the worst finding.

    From the worst: a failed mechanism test or a contradiction of bounds; data, a model or a machine that
    failed; a failed requirement; bounds that cross as chance may explain, a drill that did nothing, or an
    undecided requirement; none of these.

    Args:
        requirements: The decision on each requirement.
        claims: Every claim of the run.
        results: Result of each step of the run.
        undecided: What an undecided requirement does to the exit code. Bounds that cross and a drill that did
            nothing always make it 3.
    """
    decided, results = tuple(requirements), tuple(results)
    counts = Counter(one.verdict.decision for one in decided)

    def count_text(decision: Decision, word: str) -> str:
        return f"{counts[decision]} of {len(decided)} requirement{'s' * (len(decided) != 1)} {word}"

    mismatches, contradicted = mechanism_mismatches(results), contradictions(claims, comparisons=len(claims))
    if mismatches or contradicted:
        reasons = [f"{test.name} is not what was claimed" for test in mismatches]
        reasons += [f"the two bounds of {claim.name} contradict each other" for claim in contradicted]
        return _make_verdict(ExitCode.ALARM, "; ".join(reasons), undecided)
    if failures := list(_failures(results)):
        return _make_verdict(ExitCode.EXECUTION, "; ".join(failures), undecided)
    if counts[Decision.FAIL]:
        return _make_verdict(ExitCode.FAILED, count_text(Decision.FAIL, "failed"), undecided)
    suspects = [
        f"the two bounds of {claim.name} cross within statistical error"
        for claim in claims
        if claim.bracket.consistency_among(len(claims)) is Consistency.SUSPECT
    ]
    if suspects:
        return _make_verdict(ExitCode.UNDECIDED, "; ".join(suspects), undecided)
    if did_nothing(results):
        return _make_verdict(ExitCode.UNDECIDED, NOTHING_DONE, undecided)
    if counts[Decision.UNDECIDED]:
        warned = undecided == "warn"
        reason = count_text(Decision.UNDECIDED, "undecided")
        return _make_verdict(ExitCode.UNDECIDED, reason, undecided, exit_code=ExitCode.OK if warned else None)
    passed = count_text(Decision.PASS, "passed") if decided else "no requirement was decided"
    return _make_verdict(ExitCode.OK, passed, undecided)


def _make_verdict(
    outcome: ExitCode, reason: str, undecided: UndecidedRule, *, exit_code: ExitCode | None = None
) -> RunVerdict:
    """Return the verdict with an outcome and its exit code, or another ``exit_code`` if that is given."""
    code = outcome if exit_code is None else exit_code
    return RunVerdict(cast("Outcome", outcome.name), int(code), reason, undecided)


def _failures(results: Iterable[StepResult]) -> Iterator[str]:
    """Yield the failures of model, data or machine that the results record."""
    for result in results:
        match result:
            case CheckResult(findings=findings):
                names = [finding.name for finding in findings if finding.level == "error"]
                if names:
                    yield f"errors were found in {', '.join(names)}"
            case AttackResult() | EvaluateResult() | LeakResult():
                yield from (f"the run stopped early: {reason}" for reason in early_stops([result]))


def early_stops(results: Iterable[StepResult]) -> Iterator[str]:
    """Yield why attacks broke off or failed, of each model where they did."""
    for result in results:
        match result:
            case AttackResult(models=models):
                yield from (one.stop_reason for one in models if one.stop_reason)
            case EvaluateResult(attacked=one) if one.stop_reason:
                yield one.stop_reason
            case LeakResult(failure_reason=reason) if reason:
                yield reason


def did_nothing(results: Iterable[StepResult]) -> bool:
    """Whether a drill skipped all its steps but the check of the data."""
    results = tuple(results)
    any_skipped = any(isinstance(one, SkippedResult) for one in results)
    return any_skipped and all(isinstance(one, SkippedResult | CheckResult | DrillResult) for one in results)


def mechanism_mismatches(results: Iterable[StepResult]) -> tuple[MechanismTest, ...]:
    """Return the mechanism tests that failed: noise, sampling or sensitivity differ from what was claimed."""
    return tuple(
        test
        for result in results
        if isinstance(result, AuditResult)
        for test in result.mechanism_tests
        if not test.passed
    )


def contradictions(claims: Iterable[Claim], *, comparisons: int) -> tuple[Claim, ...]:
    """Return the claims whose bounds cross by more than chance explains, for so many comparisons in all."""
    return tuple(
        claim for claim in claims if claim.bracket.consistency_among(comparisons) is Consistency.CONTRADICTION
    )


def _decide_by_claim(
    requirement: Requirement, claim: Claim, results: Sequence[StepResult]
) -> RequirementResult:
    if requirement.under_attack:
        verdict = decide_under_attack(requirement, claim, results)
    else:
        verdict = compare_with_limit(requirement, claim.bracket)
        if verdict.decision is Decision.UNDECIDED:
            verdict = replace(verdict, reason=_undecided_reason(requirement, claim.bracket, verdict.reason))
    return replace(_requirement_result(requirement, verdict, claim.name), model=claim.model)


def _undecided_reason(requirement: Requirement, bracket: Bracket, numbers: str) -> str:
    """Return the numbers of an undecided requirement, and what would decide it where a side is not known."""
    if requirement.metric.is_leak and bracket.upper.basis is Basis.TRIVIAL:
        low = f"{100 * bracket.lower.value:.2g} %"
        found = f"attacks show at least {low}, and no guarantee says how much others may"
        if requirement.metric is Metric.REIDENTIFIED:
            return f"{found}: none is about all examples of a person, so that nothing passes this requirement"
        return f"{found}: train with quintain privatize, and give its run by --private"
    return numbers + _advice(requirement, bracket)


def _advice(requirement: Requirement, bracket: Bracket) -> str:
    """Say what would decide a requirement on robust accuracy of which one side is not known."""
    if requirement.metric is not Metric.ROBUST_ACCURACY:
        return ""
    if bracket.lower.basis is Basis.TRIVIAL and requirement.relation == ">=":
        return (
            "; nothing is certified: quintain evaluate certifies what it can, and attacked_accuracy requires "
            "what an attack left"
        )
    if not is_attacked(bracket):
        return "; nothing was attacked: quintain evaluate certifies and attacks"
    return ""


def is_measured(requirement: Requirement, claims: Iterable[Claim]) -> bool:
    """Whether a run measures a requirement's metric for its type of threat, at whatever eps.

    Args:
        requirement: A requirement such as ``robust_accuracy(linf:4/255) >= 0.70``.
        claims: All claims of the run.
    """
    return any(
        claim.bracket.quantity.metric is requirement.metric
        and same_threat_type(claim.bracket.quantity.threat, requirement.threat)
        and (is_attacked(claim.bracket) or not requirement.under_attack)
        for claim in claims
    )


def _requirement_result(requirement: Requirement, verdict: Verdict, claim_name: str) -> RequirementResult:
    return RequirementResult(requirement.text, verdict, claim_name, requirement.path, requirement.line)


def _is_about(claim: Claim, requirement: Requirement) -> bool:
    """Whether a claim is on the quantity of a requirement, and on its model."""
    is_of_model = claim.model == requirement.model if requirement.model else claim.primary
    return is_of_model and _is_of_quantity(claim, requirement)


def _is_of_quantity(claim: Claim, requirement: Requirement) -> bool:
    """Whether a claim is on the quantity of a requirement, of whatever model."""
    quantity = claim.bracket.quantity
    return (
        quantity.metric is requirement.metric
        and same_threat(quantity.threat, requirement.threat)
        and requirement.delta in (None, quantity.delta)
        and (requirement.fpr is None or _is_same_rate(requirement.fpr, quantity.fpr))
    )


def _is_same_rate(required: float, measured: float | None) -> bool:
    return measured is not None and math.isclose(required, measured, rel_tol=1e-9)


def same_threat(a: str, b: str) -> bool:
    """Whether two specs name the same threat, such as ``linf:1/5`` and ``linf:0.2``.

    Old spellings count: ``colour:hue=0.1`` is ``color:hue=0.1``.
    """
    a, b = current_spec(a), current_spec(b)
    return a == b or (_parse_spec(a) is not None and _parse_spec(a) == _parse_spec(b))


def same_threat_type(a: str, b: str) -> bool:
    """Whether two specs name threats of the same type, such as ``linf:4/255`` and ``linf:0.2``."""
    return threat_type(current_spec(a)) == threat_type(current_spec(b))


def _parse_spec(spec: str) -> tuple[str, float] | None:
    try:
        return threat_type(spec), parse_number(size_text(spec))
    except ValueError:
        return None
