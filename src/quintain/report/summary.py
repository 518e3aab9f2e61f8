"""The final table: what is claimed, from both sides, on one screen."""

from collections.abc import Sequence
from dataclasses import dataclass

from quintain.report import format as fmt
from quintain.report.run import Run
from quintain.results.bounds import Bracket, Consistency
from quintain.results.quantity import Basis, Metric, Side
from quintain.results.records import Claim, Record
from quintain.results.verdict import Decision

CONFIDENCE = 0.95
"""Of every interval in the report."""

FAILURE = "SPECIFICATION FAILURE"
"""What an epsilon is called whose mechanism was measured to differ from the claim."""

WORDS = {Decision.PASS: "HOLDS", Decision.FAIL: "BROKEN", Decision.UNDECIDED: "UNDECIDED"}
"""What a verdict is called in front of people."""

UNATTACKED = "unchanged examples"
"""The method of an upper side for which nothing was attacked: only what is wrong already is ruled out."""

_FOUND = {
    (Metric.ROBUST_ACCURACY, Side.LOWER): ("proved", "nothing proved"),
    (Metric.ROBUST_ACCURACY, Side.UPPER): ("attacked", "not attacked"),
    (Metric.CLEAN_ACCURACY, Side.LOWER): ("right", "nothing known"),
    (Metric.CLEAN_ACCURACY, Side.UPPER): ("right", "nothing known"),
    (Metric.EPSILON, Side.LOWER): ("audited", "not audited"),
    (Metric.EPSILON, Side.UPPER): ("accounted", "no upper bound"),
}


@dataclass(frozen=True, slots=True)
class Verdicts:
    """How the requirements stand, and whether the claims stand to each other.

    Args:
        broken, hold, undecided: Requirements.
        contradictions, suspects: Claims whose two sides cross.
        failures: Mechanisms measured to differ from what was claimed.
    """

    broken: int
    hold: int
    undecided: int
    contradictions: int
    suspects: int
    failures: int


@dataclass(frozen=True, slots=True)
class Row:
    """One claim as a line of the final table.

    Args:
        name: Of the claim.
        what: For people.
        lower: Proved or audited.
        true: Where the true value lies in the population, at 95 %.
        upper: Under attack or accounted.
        baseline: A constant answer's value.
        verdict: The answer to what was asked, or what there is to know.
        tone: ``good``, ``bad``, ``open`` or empty: its colour.
    """

    name: str
    what: str
    lower: str
    true: str
    upper: str
    baseline: str
    verdict: str
    tone: str


def verdicts(records: Sequence[Record]) -> Verdicts:
    """Requirements counted by answer, and crossing claims."""
    run = Run.of(records)
    answers = [one.verdict.decision for one in run.judged]
    crossings = [status for _, status in run.crossings]
    return Verdicts(
        answers.count(Decision.FAIL),
        answers.count(Decision.PASS),
        answers.count(Decision.UNDECIDED),
        crossings.count(Consistency.CONTRADICTION),
        crossings.count(Consistency.SUSPECT),
        len(run.failures),
    )


def rows(records: Sequence[Record]) -> tuple[Row, ...]:
    """The headline claims, one a line."""
    run = Run.of(records)
    return tuple(row(run, claim) for claim in run.headline())


def every_row(records: Sequence[Record]) -> tuple[Row, ...]:
    """Every claim, one a line."""
    run = Run.of(records)
    return tuple(row(run, claim) for claim in run.claims)


def row(run: Run, claim: Claim) -> Row:
    """One claim as a line."""
    bracket = claim.bracket
    kind = bracket.quantity.metric
    text, tone = verdict(run, claim)
    return Row(
        claim.name,
        about(claim),
        side(bracket, Side.LOWER),
        fmt.span(kind, *bracket.confidence_interval(CONFIDENCE)),
        side(bracket, Side.UPPER),
        fmt.quantity(kind, bracket.baseline) if bracket.baseline is not None else "",
        text,
        tone,
    )


def about(claim: Claim) -> str:
    """What is claimed, with its threat where the title does not name it: ``Robust accuracy, plain model, Linf 4/255``."""
    token = claim.bracket.quantity.threat
    return claim.title if not token or fmt.size(fmt.size_of(token)) in claim.title else f"{claim.title}, {fmt.threat(token)}"


def side(bracket: Bracket, which: Side) -> str:
    """One side in words: ``proved 72.9 %``; a bound that is true without looking says so."""
    bound = bracket.lower if which is Side.LOWER else bracket.upper
    word, nothing = _FOUND[bracket.quantity.metric, which]
    if bound.method == UNATTACKED:
        word = "unchanged"
    return nothing if bound.basis is Basis.TRIVIAL else f"{word} {fmt.quantity(bracket.quantity.metric, bound.value, which)}"


def verdict(run: Run, claim: Claim) -> tuple[str, str]:
    """The worst thing to say of a claim, and its tone: an alarm, then what was asked, then how it stands to a constant answer."""
    crossings = {known.name: status for known, status in run.crossings}
    if claim.name in crossings:
        return crossings[claim.name].value, "bad"
    if claim.bracket.quantity.metric is Metric.EPSILON and run.failures:
        return FAILURE, "bad"
    answers = [one.verdict.decision for one in run.requirements(claim)]
    for answer, tone in ((Decision.FAIL, "bad"), (Decision.UNDECIDED, "open"), (Decision.PASS, "good")):
        if answer in answers:
            return WORDS[answer], tone
    return against_constant(claim.bracket)


def against_constant(bracket: Bracket) -> tuple[str, str]:
    """How an accuracy stands to the best constant answer on the same examples; empty where there is no such thing."""
    if bracket.baseline is None or bracket.quantity.metric is Metric.EPSILON:
        return "", ""
    if bracket.upper.value <= bracket.baseline:
        return "no better than a constant", "bad"
    if bracket.lower.value > bracket.baseline:
        return "above a constant", "good"
    return "open", "open"
