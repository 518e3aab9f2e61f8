"""Claims as rows of a table: both bounds, the interval, and what is said first of each."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from quintain.report import format as fmt
from quintain.report.key_claims import key_claims
from quintain.report.run_results import RunResults
from quintain.results.bounds import Bracket, Consistency
from quintain.results.literals import CLEAN_ERRORS_ONLY
from quintain.results.quantity import Basis, Metric, Side
from quintain.results.records import Claim, Record
from quintain.results.verdict import Decision

CONFIDENCE = 0.95
"""Of every interval in the report."""

MECHANISM_MISMATCH = "MECHANISM MISMATCH"
"""What an epsilon is called whose mechanism was measured to differ from the claim."""

_FOUND = {
    (Metric.ROBUST_ACCURACY, Side.LOWER): ("certified", "not certified"),
    (Metric.ROBUST_ACCURACY, Side.UPPER): ("attacked", "not attacked"),
    (Metric.CLEAN_ACCURACY, Side.LOWER): ("correct", "not known"),
    (Metric.CLEAN_ACCURACY, Side.UPPER): ("correct", "not known"),
    (Metric.EPSILON, Side.LOWER): ("audited", "not audited"),
    (Metric.EPSILON, Side.UPPER): ("accounted", "no upper bound"),
    **{
        (metric, side): words
        for metric in Metric
        if metric.is_leak
        for side, words in (
            (Side.LOWER, ("at least", "nothing shown")),
            (Side.UPPER, ("at most", "no guarantee")),
        )
    },
}


@dataclass(frozen=True, slots=True)
class Badge:
    """What is said first of a claim.

    Args:
        label: A decision, an alarm, or how the claim compares with the majority class; may be empty.
        tone: ``good``, ``bad``, ``open`` or empty: its color.
        is_alarm: Whether the claim cannot be relied on.
    """

    label: str = ""
    tone: str = ""
    is_alarm: bool = False


@dataclass(frozen=True, slots=True)
class VerdictCounts:
    """Numbers of decisions and alarms.

    Args:
        failed, passed, undecided: Requirements.
        contradictions, suspects: Claims whose two bounds cross.
        failures: Mechanisms measured to differ from what was claimed.
    """

    failed: int
    passed: int
    undecided: int
    contradictions: int
    suspects: int
    failures: int


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """One claim as a line of the final table.

    Args:
        name: Of the claim.
        title: For people.
        lower: The certified or audited bound.
        interval: Where the value lies in the population, at 95 %; empty where both bounds say it.
        upper: The bound under attack, or the accountant's.
        baseline: The value of the majority class.
        label: The decision on a requirement, or what else there is to know.
        tone: ``good``, ``bad``, ``open`` or empty: its color.
    """

    name: str
    title: str
    lower: str
    interval: str
    upper: str
    baseline: str
    label: str
    tone: str


def count_verdicts(records: Sequence[Record]) -> VerdictCounts:
    """Count requirements by decision, and claims whose bounds cross."""
    run = RunResults.of(records)
    decisions = [one.verdict.decision for one in run.requirement_results]
    crossings = [status for _, status in run.inconsistencies]
    return VerdictCounts(
        failed=decisions.count(Decision.FAIL),
        passed=decisions.count(Decision.PASS),
        undecided=decisions.count(Decision.UNDECIDED),
        contradictions=crossings.count(Consistency.CONTRADICTION),
        suspects=crossings.count(Consistency.SUSPECT),
        failures=len(run.failed_mechanism_tests),
    )


def key_rows(records: Sequence[Record]) -> tuple[ClaimRow, ...]:
    """Return the key claims, one a line."""
    run = RunResults.of(records)
    return tuple(claim_row(run, claim) for claim in key_claims(run))


def all_rows(records: Sequence[Record]) -> tuple[ClaimRow, ...]:
    """Return every claim, one a line."""
    run = RunResults.of(records)
    return tuple(claim_row(run, claim) for claim in run.claims)


def claim_row(run: RunResults, claim: Claim) -> ClaimRow:
    """Return one claim as a line."""
    bracket = claim.bracket
    kind = bracket.quantity.metric
    badge = claim_badge(run, claim)
    return ClaimRow(
        name=claim.name,
        title=about(claim),
        lower=bound_text(bracket, Side.LOWER),
        # the lower side of a leak is at this confidence already, and its upper side holds for all
        interval="" if kind.is_leak else fmt.interval(kind, *bracket.confidence_interval(CONFIDENCE)),
        upper=bound_text(bracket, Side.UPPER),
        baseline=fmt.metric_value(kind, bracket.baseline) if bracket.baseline is not None else "",
        label=badge.label,
        tone=badge.tone,
    )


def about(claim: Claim) -> str:
    """What is claimed, with its threat where the title does not name it: ``Robust accuracy, plain model, Linf
    4/255``.
    """
    spec = claim.bracket.quantity.threat
    return (
        claim.title
        if not spec or fmt.eps_text(fmt.eps_of(spec)) in claim.title
        else f"{claim.title}, {fmt.threat_text(spec)}"
    )


def bound_text(bracket: Bracket, which: Side) -> str:
    """Return one bound in words: ``certified 72.9 %``; a trivial bound says so."""
    bound = bracket.lower if which is Side.LOWER else bracket.upper
    word, nothing = _FOUND[bracket.quantity.metric, which]
    word = "claimed" if bound.basis is Basis.CLAIMED else word
    if bound.method == CLEAN_ERRORS_ONLY:
        return f"clean {fmt.metric_value(bracket.quantity.metric, bound.value, which)} (not attacked)"
    if bracket.quantity.metric.is_leak and which is Side.LOWER and bound.value <= 0:
        return "nothing shown"
    return (
        nothing
        if bound.basis is Basis.TRIVIAL
        else f"{word} {fmt.metric_value(bracket.quantity.metric, bound.value, which)}"
    )


def bounds_text(bracket: Bracket) -> str:
    """Return both bounds in words."""
    return f"{bound_text(bracket, Side.LOWER)}, {bound_text(bracket, Side.UPPER)}"


def accuracy_claim_texts(claims: Iterable[Claim]) -> Iterator[str]:
    """Yield both bounds on each accuracy in words, with its interval.

    What the interval is about, and the accuracy of the majority class, is said once.
    """
    stated: set[float | None] = {None}
    interval = "95 % interval for the population"
    for claim in claims:
        baseline = claim.bracket.baseline
        majority = "" if baseline in stated else f"; majority class {fmt.percent(baseline)}"
        low, high = claim.bracket.confidence_interval()
        yield f"{_accuracy_bounds(claim)}; {interval} {fmt.percent_interval(low, high)}{majority}"
        stated.add(baseline)
        interval = "95 %:"


def _accuracy_bounds(claim: Claim) -> str:
    """Return both bounds on an accuracy in words."""
    bracket = claim.bracket
    lower, upper = fmt.percent(bracket.lower.value), fmt.percent(bracket.upper.value)
    proof = "not certified" if bracket.lower.basis is Basis.TRIVIAL else "certified"
    attack = "not attacked" if bracket.upper.method == CLEAN_ERRORS_ONLY else "attacked"
    bounds = f"at least {lower} ({proof}), at most {upper} ({attack})"
    return f"robust accuracy of {claim.model} at {bracket.quantity.threat}: {bounds}"


def claim_badge(run: RunResults, claim: Claim) -> Badge:
    """Return the badge of a claim: an alarm, else a decision, else how it compares with the
    majority class.
    """
    crossings = {known.name: status for known, status in run.inconsistencies}
    if claim.name in crossings:
        return Badge(crossings[claim.name].value, "bad", is_alarm=True)
    if claim.bracket.quantity.metric is Metric.EPSILON and run.failed_mechanism_tests:
        return Badge(MECHANISM_MISMATCH, "bad", is_alarm=True)
    decisions = [one.verdict.decision for one in run.requirements_of(claim)]
    for decision, tone in ((Decision.FAIL, "bad"), (Decision.UNDECIDED, "open"), (Decision.PASS, "good")):
        if decision in decisions:
            return Badge(decision.value, tone)
    return versus_majority(claim.bracket)


def versus_majority(bracket: Bracket) -> Badge:
    """Return how an accuracy compares with the majority class on the same examples; empty for other
    quantities.
    """
    if bracket.baseline is None or bracket.quantity.metric.less_is_better:
        return Badge()
    if bracket.upper.value <= bracket.baseline:
        return Badge("not above the majority class", "bad")
    if bracket.lower.value > bracket.baseline:
        return Badge("above the majority class", "good")
    return Badge("gap includes the majority class", "open")
