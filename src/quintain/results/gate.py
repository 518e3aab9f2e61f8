"""Decides requirements by claims, and says which exit code follows. Needs no torch."""

from collections.abc import Iterable, Sequence

from quintain.core.errors import ExitCode
from quintain.core.threat_specs import current_spec, parse_number, size_text, threat_type
from quintain.results.bounds import Consistency
from quintain.results.records import Claim, RequirementResult
from quintain.results.requirements import Requirement
from quintain.results.verdict import Decision, Verdict

_WORST_FIRST = (Decision.FAIL, Decision.UNDECIDED, Decision.PASS)


def decide(requirement: Requirement, claims: Iterable[Claim]) -> RequirementResult:
    """Decide one requirement: UNDECIDED where no claim is about it.

    Of two claims on one quantity the later one counts. Where a requirement covers several quantities, such as
    two deltas when it names none, all of them must hold.
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
        return RequirementResult(requirement.text, Verdict(Decision.UNDECIDED, reason), "")
    latest = {claim.bracket.quantity: claim for claim in found}.values()
    return min(
        (_decided_by(requirement, claim) for claim in latest),
        key=lambda one: _WORST_FIRST.index(one.verdict.decision),
    )


def exit_code(requirements: Iterable[RequirementResult], claims: Sequence[Claim]) -> ExitCode:
    """The exit code of all decisions, by the worst of them.

    In this order: a contradiction; a failed requirement; an undecided one, or bounds that cross as chance may
    explain; none of these.
    """
    if contradictions(claims, comparisons=len(claims)):
        return ExitCode.ALARM
    decisions = {one.verdict.decision for one in requirements}
    if Decision.FAIL in decisions:
        return ExitCode.FAILED
    suspect = any(claim.bracket.consistency_among(len(claims)) is Consistency.SUSPECT for claim in claims)
    return ExitCode.UNDECIDED if suspect or Decision.UNDECIDED in decisions else ExitCode.OK


def contradictions(claims: Iterable[Claim], *, comparisons: int) -> tuple[Claim, ...]:
    """Claims whose two sides cross beyond what chance explains over so many comparisons."""
    return tuple(
        claim for claim in claims if claim.bracket.consistency_among(comparisons) is Consistency.CONTRADICTION
    )


def _decided_by(requirement: Requirement, claim: Claim) -> RequirementResult:
    compare = claim.bracket.at_least if requirement.relation == ">=" else claim.bracket.at_most
    return RequirementResult(
        requirement.text, compare(requirement.value, population=requirement.scope == "population"), claim.name
    )


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


def _parsed(spec: str) -> tuple[str, float] | None:
    try:
        return threat_type(spec), parse_number(size_text(spec))
    except ValueError:
        return None
