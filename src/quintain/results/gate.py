"""Decides requirements by claims, and says which exit code follows. Needs no torch."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, cast

from quintain.core.errors import ExitCode
from quintain.core.threat_specs import current_spec, parse_number, size_text, threat_type
from quintain.results.bounds import Bracket, Consistency
from quintain.results.evidence import CountEvidence
from quintain.results.literals import CLEAN_ERRORS_ONLY, REPLAY_OF
from quintain.results.privacy_records import AuditResult, MechanismTest
from quintain.results.quantity import Basis, Metric, Side
from quintain.results.records import Claim, DrillResult, RequirementResult, SkippedResult, StepResult
from quintain.results.requirements import Requirement
from quintain.results.robustness_records import AttackResult, CheckResult, EvaluateResult
from quintain.results.verdict import Decision, Outcome, RunVerdict, UndecidedRule, Verdict

_WORST_FIRST = (Decision.FAIL, Decision.UNDECIDED, Decision.PASS)


NOTHING_DONE = "nothing was done: no step of the drill can be done as it stands"
"""Said of a drill that skipped all its steps."""


class Judgement(NamedTuple):
    """The decision on each requirement of a run, the verdict on the run, and the requirements left out."""

    requirements: tuple[RequirementResult, ...]
    verdict: RunVerdict
    not_checked: tuple[str, ...]


def decide(
    requirement: Requirement, claims: Iterable[Claim], results: Iterable[StepResult] = ()
) -> RequirementResult:
    """Decide one requirement: UNDECIDED where no claim is about it.

    Of two claims on one quantity the later one counts. Where a requirement covers several quantities, such as
    two deltas when it names none, all of them must hold. An epsilon of a mechanism that was measured to be
    another than the claimed one holds nothing, so that no requirement on it passes.

    Args:
        requirement: What is required.
        claims: All of the run.
        results: Result of each step of the run.
    """
    claims = tuple(claims)
    found = [claim for claim in claims if _is_about(claim, requirement)]
    if not found:
        measured = [claim for claim in claims if claim.bracket.quantity.metric is requirement.metric]
        models = sorted({claim.model for claim in measured})
        known = sorted({claim.bracket.quantity.threat for claim in measured} - {""})
        what = f"{', '.join(known)} ({', '.join(models)})" if known else f"that of {', '.join(models)}"
        about = f"; this run has {what}" if models else ""
        quantity = requirement.text.partition(requirement.relation)[0].strip()
        reason = f"no result for {quantity}{about}"
        return _result(requirement, Verdict(Decision.UNDECIDED, reason), "")
    latest = {claim.bracket.quantity: claim for claim in found}.values()
    worst = min(
        (_decided_by(requirement, claim) for claim in latest),
        key=lambda one: _WORST_FIRST.index(one.verdict.decision),
    )
    mismatches = mechanism_mismatches(results) if requirement.metric is Metric.EPSILON else ()
    if mismatches and worst.verdict.passed:
        names = ", ".join(test.name for test in mismatches)
        reason = f"{names}: measured to be another than was claimed, so that the accounted epsilon is void"
        return replace(worst, verdict=Verdict(Decision.UNDECIDED, reason))
    return worst


def judge(
    requirements: Sequence[Requirement],
    claims: Sequence[Claim],
    results: Sequence[StepResult],
    *,
    undecided: UndecidedRule = "fail",
    unfinished: str = "",
) -> Judgement:
    """Decide what is required of a run, and return the verdict on it.

    Of the project's requirements those are decided that the run measures; those of the command line always
    are. Of a run that was not finished every one is undecided: what it did not come to might decide it
    otherwise.

    Args:
        requirements: Those of the project and of the command line.
        claims: Every claim of the run.
        results: Result of each step of the run.
        undecided: What an undecided requirement does to the exit code.
        unfinished: Why the run was not finished; empty where it was.
    """
    due = [one for one in requirements if unfinished or not one.path or is_measured(one, claims)]
    left = tuple(one.text for one in requirements if one not in due)
    if unfinished:
        nothing = Verdict(Decision.UNDECIDED, unfinished)
        decided = tuple(_result(one, nothing, "") for one in due)
        verdict = run_verdict((), claims, results, undecided=undecided)
        if verdict.outcome not in ("ALARM", "EXECUTION"):
            verdict = _ended(ExitCode.INTERRUPTED, unfinished, undecided)
        return Judgement(decided, verdict, left)
    decided = tuple(decide(one, claims, results) for one in due)
    return Judgement(decided, run_verdict(decided, claims, results, undecided=undecided), left)


def run_verdict(
    requirements: Iterable[RequirementResult],
    claims: Sequence[Claim],
    results: Iterable[StepResult] = (),
    *,
    undecided: UndecidedRule = "fail",
) -> RunVerdict:
    """Return the verdict on a whole run, by the worst of what was found.

    In this order: a mechanism that is not what was claimed, or a contradiction; data, a model or a machine
    that failed; a failed requirement; an undecided one, bounds that cross as chance may explain, or a drill
    that did nothing; none of these.

    Args:
        requirements: Every requirement that was decided.
        claims: Every claim of the run.
        results: Result of each step of the run.
        undecided: What an undecided requirement does to the exit code; bounds that cross, and a drill that
            did nothing, are no such thing, and always make it 3.
    """
    decided, results = tuple(requirements), tuple(results)
    counts = Counter(one.verdict.decision for one in decided)

    def of_all(decision: Decision, word: str) -> str:
        return f"{counts[decision]} of {len(decided)} requirement{'s' * (len(decided) != 1)} {word}"

    mismatches, crossed = mechanism_mismatches(results), contradictions(claims, comparisons=len(claims))
    if mismatches or crossed:
        sentences = [f"{test.name} is not what was claimed" for test in mismatches]
        sentences += [f"the two bounds of {claim.name} contradict each other" for claim in crossed]
        return _ended(ExitCode.ALARM, "; ".join(sentences), undecided)
    if failures := list(_failures(results)):
        return _ended(ExitCode.EXECUTION, "; ".join(failures), undecided)
    if counts[Decision.FAIL]:
        return _ended(ExitCode.FAILED, of_all(Decision.FAIL, "failed"), undecided)
    suspects = [
        f"the two bounds of {claim.name} cross within statistical error"
        for claim in claims
        if claim.bracket.consistency_among(len(claims)) is Consistency.SUSPECT
    ]
    if suspects:
        return _ended(ExitCode.UNDECIDED, "; ".join(suspects), undecided)
    if did_nothing(results):
        return _ended(ExitCode.UNDECIDED, NOTHING_DONE, undecided)
    if counts[Decision.UNDECIDED]:
        warned = undecided == "warn"
        reason = of_all(Decision.UNDECIDED, "undecided")
        return _ended(ExitCode.UNDECIDED, reason, undecided, exit_code=ExitCode.OK if warned else None)
    passed = of_all(Decision.PASS, "passed") if decided else "no requirement was decided"
    return _ended(ExitCode.OK, passed, undecided)


def _ended(
    outcome: ExitCode, reason: str, undecided: UndecidedRule, *, exit_code: ExitCode | None = None
) -> RunVerdict:
    """Return the verdict with the outcome of an exit code, which is returned where no other is given."""
    code = outcome if exit_code is None else exit_code
    return RunVerdict(cast("Outcome", outcome.name), int(code), reason, undecided)


def _failures(results: Iterable[StepResult]) -> Iterator[str]:
    """Yield why the model, the data or the machine failed, though a record was written."""
    for result in results:
        match result:
            case CheckResult(findings=findings):
                names = [finding.name for finding in findings if finding.level == "error"]
                if names:
                    yield f"errors were found in {', '.join(names)}"
            case AttackResult(models=models):
                yield from (f"the run stopped early: {one.stop_reason}" for one in models if one.stop_reason)
            case EvaluateResult(attacked=one):
                yield from [f"the run stopped early: {one.stop_reason}"] * bool(one.stop_reason)


def did_nothing(results: Iterable[StepResult]) -> bool:
    """Whether steps of a drill were skipped and none was done, save that the data were checked."""
    found = tuple(results)
    skipped = any(isinstance(one, SkippedResult) for one in found)
    return skipped and all(isinstance(one, SkippedResult | CheckResult | DrillResult) for one in found)


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
    """Claims whose two sides cross beyond what chance explains over so many comparisons."""
    return tuple(
        claim for claim in claims if claim.bracket.consistency_among(comparisons) is Consistency.CONTRADICTION
    )


def _decided_by(requirement: Requirement, claim: Claim) -> RequirementResult:
    if requirement.under_attack:
        return _result(requirement, _decided_under_attack(requirement, claim.bracket), claim.name)
    verdict = _compared(requirement, claim.bracket)
    advice = _advice(requirement, claim.bracket) if verdict.decision is Decision.UNDECIDED else ""
    return _result(requirement, replace(verdict, reason=verdict.reason + advice), claim.name)


def _compared(requirement: Requirement, bracket: Bracket) -> Verdict:
    compare = bracket.at_least if requirement.relation == ">=" else bracket.at_most
    return compare(requirement.value, population=requirement.scope == "population")


def _advice(requirement: Requirement, bracket: Bracket) -> str:
    """Say what would decide a requirement on robust accuracy of which one side is not known."""
    if requirement.metric is not Metric.ROBUST_ACCURACY:
        return ""
    if bracket.lower.basis is Basis.TRIVIAL and requirement.relation == ">=":
        return (
            "; nothing is certified: quintain evaluate certifies what it can, and attacked_accuracy requires "
            "what an attack left"
        )
    if not _is_attacked(bracket):
        return "; nothing was attacked: quintain evaluate certifies and attacks"
    return ""


def _decided_under_attack(requirement: Requirement, bracket: Bracket) -> Verdict:
    """Decide by what the attacks left: both sides of what is compared are that one count."""
    counted = bracket.upper.evidence
    if not _is_attacked(bracket) or not isinstance(counted, CountEvidence):
        reason = (
            f"nothing was attacked at {requirement.threat}; use quintain evaluate or quintain attack with "
            f"--threat {requirement.threat}"
        )
        return Verdict(Decision.UNDECIDED, reason)
    if all(name.startswith(REPLAY_OF) for name in bracket.upper.method.split(" + ")):
        verdict = _compared(requirement, bracket)
        reason = (
            f"examples that were made on another model left {counted.hits} of {counted.trials}: "
            f"{verdict.reason}; quintain attack on this very model decides it"
        )
        return replace(verdict, reason=reason)
    left = replace(bracket.upper, side=Side.LOWER, evidence=CountEvidence(counted.hits, counted.trials))
    verdict = _compared(requirement, replace(bracket, lower=left))
    reason = (
        f"attacks left {counted.hits} of {counted.trials} examples: {verdict.reason}; this is no robust "
        "accuracy, since a stronger attack may leave less"
    )
    return replace(verdict, reason=reason)


def _is_attacked(bracket: Bracket) -> bool:
    """Whether attacks stand behind the upper bound of a robust accuracy, not clean errors alone."""
    return bracket.upper.basis is not Basis.TRIVIAL and bracket.upper.method != CLEAN_ERRORS_ONLY


def is_measured(requirement: Requirement, claims: Iterable[Claim]) -> bool:
    """Whether a run measures what a requirement limits, at some size: its metric, in its type of threat.

    Args:
        requirement: Such as ``robust_accuracy(linf:4/255) >= 0.70``.
        claims: All of the run.
    """
    return any(
        claim.bracket.quantity.metric is requirement.metric
        and same_threat_type(claim.bracket.quantity.threat, requirement.threat)
        and (_is_attacked(claim.bracket) or not requirement.under_attack)
        for claim in claims
    )


def _result(requirement: Requirement, verdict: Verdict, claim_name: str) -> RequirementResult:
    return RequirementResult(requirement.text, verdict, claim_name, requirement.path, requirement.line)


def _is_about(claim: Claim, requirement: Requirement) -> bool:
    quantity = claim.bracket.quantity
    return (
        quantity.metric is requirement.metric
        and same_threat(quantity.threat, requirement.threat)
        and requirement.delta in (None, quantity.delta)
        and (claim.model == requirement.model if requirement.model else claim.primary)
    )


def same_threat(a: str, b: str) -> bool:
    """Whether two specs stand for one threat.

    ``linf:1/5`` and ``linf:0.2`` do, ``colour:hue=0.1`` and ``color:hue=0.1`` too.
    """
    a, b = current_spec(a), current_spec(b)
    return a == b or (_parsed(a) is not None and _parsed(a) == _parsed(b))


def same_threat_type(a: str, b: str) -> bool:
    """Whether two specs stand for sizes of one type of threat, such as ``linf:4/255`` and ``linf:0.2``."""
    return threat_type(current_spec(a)) == threat_type(current_spec(b))


def _parsed(spec: str) -> tuple[str, float] | None:
    try:
        return threat_type(spec), parse_number(size_text(spec))
    except ValueError:
        return None
