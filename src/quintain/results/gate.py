"""Judging requirements against claims, and the exit code that follows. Needs no torch."""

from collections.abc import Iterable, Sequence

from quintain.core.errors import ExitCode
from quintain.core.tokens import ball_of, number, size_of
from quintain.results.bounds import Consistency
from quintain.results.records import Claim, RequirementResult
from quintain.results.requirements import Requirement
from quintain.results.verdict import Decision, Verdict

_WORST_FIRST = (Decision.FAIL, Decision.UNDECIDED, Decision.PASS)


def judge(requirement: Requirement, claims: Iterable[Claim]) -> RequirementResult:
    """The answer to one requirement: UNDECIDED where no claim is about it.

    Of two claims on one quantity the later one counts. Where a requirement covers several quantities, such as
    two deltas when it names none, all of them must hold.
    """
    claims = tuple(claims)
    found = [claim for claim in claims if _speaks(claim, requirement)]
    if not found:
        models = sorted({claim.model for claim in claims if claim.bracket.quantity.metric is requirement.metric})
        known = sorted(
            {
                claim.bracket.quantity.threat
                for claim in claims
                if claim.bracket.quantity.metric is requirement.metric and claim.bracket.quantity.threat
            }
        )
        what = f"{', '.join(known)} for" if known else "that of"
        about = f"; measured: {what} {', '.join(models)}" if models else ""
        return RequirementResult(requirement.text, Verdict(Decision.UNDECIDED, f"nothing here speaks of it{about}"), "")
    latest = {claim.bracket.quantity: claim for claim in found}.values()
    return min((_answer(requirement, claim) for claim in latest), key=lambda one: _WORST_FIRST.index(one.verdict.decision))


def exit_code(judged: Iterable[RequirementResult], claims: Sequence[Claim]) -> ExitCode:
    """The exit code of all answers, by the worst of them.

    In this order: a contradiction; a failed requirement; an undecided one, or bounds that cross as chance may
    explain; none of these.
    """
    if contradictions(claims, among=len(claims)):
        return ExitCode.ALARM
    answers = {one.verdict.decision for one in judged}
    if Decision.FAIL in answers:
        return ExitCode.BROKEN
    suspect = any(claim.bracket.consistency_among(len(claims)) is Consistency.SUSPECT for claim in claims)
    return ExitCode.UNDECIDED if suspect or Decision.UNDECIDED in answers else ExitCode.HOLDS


def contradictions(claims: Iterable[Claim], *, among: int) -> tuple[Claim, ...]:
    """Claims whose two sides cross beyond what chance explains over ``among`` comparisons."""
    return tuple(claim for claim in claims if claim.bracket.consistency_among(among) is Consistency.CONTRADICTION)


def _answer(requirement: Requirement, claim: Claim) -> RequirementResult:
    ask = claim.bracket.at_least if requirement.relation == ">=" else claim.bracket.at_most
    return RequirementResult(requirement.text, ask(requirement.value, population=requirement.scope == "population"), claim.name)


def _speaks(claim: Claim, requirement: Requirement) -> bool:
    of = claim.bracket.quantity
    return (
        of.metric is requirement.metric
        and same_threat(of.threat, requirement.threat)
        and requirement.delta in (None, of.delta)
        and (claim.model == requirement.model if requirement.model else claim.primary)
    )


def same_threat(a: str, b: str) -> bool:
    """Whether two tokens stand for one threat: ``linf:1/5`` and ``linf:0.2`` do."""
    return a == b or (_read(a) is not None and _read(a) == _read(b))


def _read(token: str) -> tuple[str, float] | None:
    try:
        return ball_of(token), number(size_of(token))
    except ValueError:
        return None
