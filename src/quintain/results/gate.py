"""Judging requirements against claims, and the exit code that follows. Needs no torch."""

from collections.abc import Iterable, Sequence

from quintain.core.errors import ExitCode
from quintain.core.tokens import ball_of, number, size_of
from quintain.results.bounds import Status
from quintain.results.records import Claim, Judged
from quintain.results.requirements import Requirement
from quintain.results.verdict import Answer, Verdict

_WORST_FIRST = (Answer.FAIL, Answer.UNDECIDED, Answer.PASS)


def judge(requirement: Requirement, claims: Iterable[Claim]) -> Judged:
    """The answer to one requirement: UNDECIDED where no claim is about it.

    Of two claims on one quantity the later one counts. Where a requirement covers several quantities, such as
    two deltas when it names none, all of them must hold.
    """
    claims = tuple(claims)
    found = [claim for claim in claims if _speaks(claim, requirement)]
    if not found:
        models = sorted({claim.model for claim in claims if claim.bracket.of.kind is requirement.kind})
        known = sorted(
            {claim.bracket.of.threat for claim in claims if claim.bracket.of.kind is requirement.kind and claim.bracket.of.threat}
        )
        what = f"{', '.join(known)} for" if known else "that of"
        about = f"; measured: {what} {', '.join(models)}" if models else ""
        return Judged(requirement.text, Verdict(Answer.UNDECIDED, f"nothing here speaks of it{about}"), "")
    latest = {claim.bracket.of: claim for claim in found}.values()
    return min((_answer(requirement, claim) for claim in latest), key=lambda one: _WORST_FIRST.index(one.verdict.answer))


def exit_code(judged: Iterable[Judged], claims: Sequence[Claim]) -> ExitCode:
    """The exit code of all answers, by the worst of them.

    In this order: a contradiction; a failed requirement; an undecided one, or bounds that cross as chance may
    explain; none of these.
    """
    if contradictions(claims, among=len(claims)):
        return ExitCode.ALARM
    answers = {one.verdict.answer for one in judged}
    if Answer.FAIL in answers:
        return ExitCode.BROKEN
    suspect = any(claim.bracket.status_among(len(claims)) is Status.SUSPECT for claim in claims)
    return ExitCode.UNDECIDED if suspect or Answer.UNDECIDED in answers else ExitCode.HOLDS


def contradictions(claims: Iterable[Claim], *, among: int) -> tuple[Claim, ...]:
    """Claims whose two sides cross beyond what chance explains over ``among`` comparisons."""
    return tuple(claim for claim in claims if claim.bracket.status_among(among) is Status.CONTRADICTION)


def _answer(requirement: Requirement, claim: Claim) -> Judged:
    ask = claim.bracket.at_least if requirement.relation == ">=" else claim.bracket.at_most
    return Judged(requirement.text, ask(requirement.value, population=requirement.scope == "population"), claim.name)


def _speaks(claim: Claim, requirement: Requirement) -> bool:
    of = claim.bracket.of
    return (
        of.kind is requirement.kind
        and same_threat(of.threat, requirement.threat)
        and requirement.delta in (None, of.delta)
        and (claim.model == requirement.model if requirement.model else claim.delivered)
    )


def same_threat(a: str, b: str) -> bool:
    """Whether two tokens stand for one threat: ``linf:1/5`` and ``linf:0.2`` do."""
    return a == b or (_read(a) is not None and _read(a) == _read(b))


def _read(token: str) -> tuple[str, float] | None:
    try:
        return ball_of(token), number(size_of(token))
    except ValueError:
        return None
