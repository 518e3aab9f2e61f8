"""What a reader sees first: the verdict, a bar for each claim, and what the defences cost."""

from dataclasses import dataclass

from markupsafe import Markup

from quintain.core.errors import UsageError
from quintain.core.threat_specs import size_text
from quintain.report import format as fmt
from quintain.report import summary
from quintain.report.bar import PERCENT, Scale, bracket_bar, scale_to
from quintain.report.run import Run
from quintain.report.svg import Tick
from quintain.report.table import Cell, Table
from quintain.results.bounds import Bracket, Consistency
from quintain.results.evidence import CountEvidence
from quintain.results.privacy_records import AuditResult, AuditRun, FederateResult
from quintain.results.quantity import Basis, Metric, Side
from quintain.results.records import Claim, DrillResult, NamedHash, Record, RequirementResult
from quintain.results.requirements import Requirement
from quintain.results.verdict import Decision

_VERBS = {
    "check": "Check",
    "train": "Training",
    "attack": "Attack",
    "harden": "Hardening",
    "certify": "Certificates",
    "privatize": "Private training",
    "plan": "Privacy plan",
    "audit": "Privacy audit",
    "leak": "Leak",
    "federate": "Federation",
}

_TONES = {Decision.PASS: "good", Decision.FAIL: "bad", Decision.UNDECIDED: "open"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A requirement on the page."""

    text: str
    word: str
    tone: str
    why: str


@dataclass(frozen=True, slots=True)
class Card:
    """A claim on the page.

    Args:
        title, about: What is claimed of whom, and under which threat.
        word, tone: The verdict.
        delivered: Whether it speaks of what the run delivers.
        bar: The drawing.
        lines: What stands under it.
    """

    title: str
    about: str
    word: str
    tone: str
    delivered: bool
    bar: Markup
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Front:
    """The top of the page.

    Args:
        title: What was done on which data.
        facts: Model, data, seed, date, duration, threads, version.
        verdicts: Counted.
        alarms: A sentence for each claim whose sides contradict each other, and for each mechanism that is not what was claimed.
        asked: The requirements.
        cards: The headline claims.
        cost: What each defence costs in accuracy, None where no model's accuracy is known.
    """

    title: str
    facts: tuple[str, ...]
    verdicts: summary.Verdicts
    alarms: tuple[str, ...]
    asked: tuple[Asked, ...]
    cards: tuple[Card, ...]
    cost: Table | None


def front(run: Run) -> Front:
    """The top of the page of a run."""
    contradictions = tuple(
        f"{summary.about(claim)}: {summary.side(claim.bracket, Side.LOWER)}, {summary.side(claim.bracket, Side.UPPER)}."
        for claim, status in run.crossings
        if status is Consistency.CONTRADICTION
    )
    failures = tuple(f"{test.name} is not what was claimed: {test.message}. The accounted epsilon is void." for test in run.failures)
    asked = tuple(
        Asked(one.requirement, summary.WORDS[one.verdict.decision], _TONES[one.verdict.decision], one.verdict.reason) for one in run.judged
    )
    cards = tuple(card(run, claim) for claim in run.headline())
    return Front(_title(run), _facts(run), summary.verdicts(run.records), contradictions + failures, asked, cards, _cost(run))


def card(run: Run, claim: Claim) -> Card:
    """One claim with its bar and what is to be known of it."""
    word, tone = summary.verdict(run, claim)
    threat = fmt.threat(claim.bracket.quantity.threat)
    delta = claim.bracket.quantity.delta
    about = threat or ("" if delta is None else f"epsilon at delta {fmt.delta(delta)}")
    audit = audit_of(run, claim)
    lines = _privacy_lines(claim.bracket, audit) if claim.bracket.quantity.metric is Metric.EPSILON else _accuracy_lines(run, claim)
    return Card(claim.title, about, word, tone, claim.primary, bar(claim.bracket, asked=run.requirements(claim), audit=audit), lines)


def bar(
    bracket: Bracket, *, asked: tuple[RequirementResult, ...] = (), audit: AuditRun | None = None, scale: Scale | None = None
) -> Markup:
    """A bracket's bar, with what was asked and a constant answer or an audit's ceiling."""
    kind = bracket.quantity.metric
    marks = [mark for one in asked if (mark := _mark(one, kind))]
    below: Tick | None = None
    if bracket.baseline is not None and kind is not Metric.EPSILON:
        below = (bracket.baseline, f"constant answer {fmt.percent(bracket.baseline)}")
    elif audit is not None:
        below = (audit.max_auditable_epsilon, f"ceiling of the audit {fmt.epsilon(audit.max_auditable_epsilon)}")
    limits = bracket.confidence_interval(summary.CONFIDENCE)
    labels = (summary.side(bracket, Side.LOWER), summary.side(bracket, Side.UPPER))
    if scale is None:
        known = (bracket.lower.value, bracket.upper.value, *limits, *(value for value, _ in marks), below[0] if below else 0.0)
        scale = scale_to(*known) if kind is Metric.EPSILON else PERCENT
    spoken = ", ".join((*labels, f"95 %: {fmt.span(kind, *limits)}", *(text for _, text in marks), *((below[1],) if below else ())))
    return bracket_bar(
        (bracket.lower.value, bracket.upper.value),
        limits,
        labels,
        scale=scale,
        low_is_good=kind is not Metric.EPSILON,
        asked=marks,
        below=below,
        spoken=spoken,
    )


def audit_of(run: Run, claim: Claim) -> AuditRun | None:
    """The audit that gave a claim's lower side."""
    runs = [one for body in run.bodies(AuditResult) for one in (body.audit, body.control)]
    return next((one for one in runs if one.lower == claim.bracket.lower), None)


def _mark(judged: RequirementResult, kind: Metric) -> Tick | None:
    try:
        asked = Requirement.parse(judged.requirement)
    except UsageError:
        return None
    sign = {">=": "≥", "<=": "≤"}[asked.relation]
    return asked.value, f"asked {sign} {fmt.quantity(kind, asked.value)}"


def _accuracy_lines(run: Run, claim: Claim) -> tuple[str, ...]:
    bracket = claim.bracket
    lines = [_counts(bracket)]
    low, high = bracket.confidence_interval(summary.CONFIDENCE)
    if bracket.lower.is_statistical or bracket.upper.is_statistical:
        lines.append(f"With what {_examples(run, bracket)} leave open: {fmt.span(bracket.quantity.metric, low, high)} (95 %).")
    if bracket.baseline is not None and bracket.consistency is Consistency.CONSISTENT:
        if bracket.upper.value <= bracket.baseline:
            lines.append("No better than a constant answer.")
        elif bracket.lower.value > bracket.baseline:
            lines.append("Above a constant answer on both sides.")
    if claim.upper_counts is not None and claim.upper_counts.sensitivity is not None:
        under = "Under attack: " if bracket.quantity.threat else ""
        parts = (
            ("balanced", claim.upper_counts.balanced_accuracy),
            ("sensitivity", claim.upper_counts.sensitivity),
            ("specificity", claim.upper_counts.specificity),
        )
        text = under + ", ".join(f"{name} {fmt.percent(value)}" for name, value in parts) + "."
        lines.append(text[0].upper() + text[1:])
    elif claim.upper_counts is not None and len(claim.upper_counts.total) > 2:
        lines.append(f"Balanced over {len(claim.upper_counts.total)} classes: {fmt.percent(claim.upper_counts.balanced_accuracy)}.")
    if bracket.num_invalid:
        lines.append(f"{fmt.count(bracket.num_invalid, 'example')} gave no number: neither robust nor broken.")
    return tuple(line for line in lines if line)


def _counts(bracket: Bracket) -> str:
    lower, upper = bracket.lower.evidence, bracket.upper.evidence
    if not isinstance(upper, CountEvidence):
        return ""
    lost = f"{upper.trials - upper.hits} of {upper.trials} {'wrong or broken' if bracket.quantity.threat else 'wrong'}"
    if not isinstance(lower, CountEvidence):
        return f"{lost}; nothing proved of the other {upper.hits}."
    if not bracket.quantity.threat:
        return f"{upper.hits} of {upper.trials} right."
    method = f" by {bracket.lower.method}" if bracket.lower.method and bracket.lower.basis is not Basis.TRIVIAL else ""
    gap = upper.hits - lower.hits
    undecided = f"{gap} open ({fmt.percent(gap / upper.trials)})" if gap >= 0 else f"{-gap} both proved and broken"
    return f"{lower.hits} proved{method}, {undecided}, {lost}."


def _privacy_lines(bracket: Bracket, audit: AuditRun | None) -> tuple[str, ...]:
    of = bracket.quantity
    facts = [f"Neighbours differ by {of.adjacency or 'change'} of one {of.privacy_unit or 'record'}"]
    lines = [f"Accounted by {bracket.upper.method}." if bracket.upper.basis is not Basis.TRIVIAL else "Without noise nothing bounds it."]
    lines.append("; ".join([*facts, f"the adversary sees {of.released}"] if of.released else facts) + ".")
    if audit is not None:
        lines.append(f"Audit: {fmt.count(audit.canaries, 'canary', 'canaries')}, {audit.correct} of {audit.guesses} guesses right.")
        lines.append(ceiling(audit, bracket.upper.value))
    elif bracket.lower.basis is Basis.TRIVIAL:
        lines.append("Not audited: nothing is known from below.")
    return tuple(line for line in lines if line)


def ceiling(audit: AuditRun, claim: float) -> str:
    """What an audit of this size could have shown, and whether it could have contradicted the claim at all."""
    text = f"An audit of this size can show at most {fmt.epsilon(audit.max_auditable_epsilon)} with {100 * audit.confidence:g} % confidence"
    return text + (": it cannot contradict this claim." if audit.max_auditable_epsilon < claim else ".")


def _examples(run: Run, bracket: Bracket) -> str:
    trials = next((e.trials for e in (bracket.lower.evidence, bracket.upper.evidence) if isinstance(e, CountEvidence)), 0)
    return f"{trials} {fmt.noun(_data(run.records).name)}"


def _title(run: Run) -> str:
    kinds = [record.result.kind for record in run.records]
    data = _data(run.records).name
    what = _VERBS.get(kinds[0], "Drill") if len(kinds) == 1 else "Drill"
    where = f" on {data}" if data else ""
    return what + where + ("" if len(kinds) == 1 or "drill" in kinds else ", unfinished")


def _data(records: tuple[Record, ...]) -> NamedHash:
    return next((record.provenance.data for record in records if record.provenance.data.name), NamedHash("", ""))


def _facts(run: Run) -> tuple[str, ...]:
    first, last = run.records[0].provenance, run.records[-1].provenance
    data = _data(run.records)
    steps = [step.seconds for body in run.bodies(DrillResult) for step in body.steps]
    spent = sum(steps) if steps else sum(record.provenance.seconds for record in run.records)
    delivered = dict.fromkeys(run.title(claim.model) for claim in run.claims if claim.primary)
    trials = [e.trials for c in run.claims for e in (c.bracket.lower.evidence, c.bracket.upper.evidence) if isinstance(e, CountEvidence)]
    tested = f", {fmt.count(max(trials), 'example')} tested" if trials else ""
    facts = (
        f"model: {', '.join(delivered)}" if delivered else "",
        f"data: {data.name}{f' ({fmt.short(data.hash)})' if data.hash else ''}{tested}" if data.name else "",
        f"seed {first.seed}",
        fmt.date(first.started),
        f"{fmt.seconds(spent)} on {fmt.count(last.threads, 'thread')}, {last.device}",
        "short form (--quick)" if any(body.quick for body in run.bodies(DrillResult)) else "",
        *(f"Quintain {one.version}" for one in last.versions if one.package == "quintain"),
    )
    return tuple(fact for fact in facts if fact)


def _cost(run: Run) -> Table | None:
    """Each model's accuracy beside what it is bought with; a constant answer loses nothing to anyone and knows nothing."""
    clean = {training.model.name: training.clean_counts for training in run.trainings}
    clean |= {body.model.name: body.rounds[-1].global_counts for body in run.bodies(FederateResult) if body.rounds}
    if not clean:
        return None
    threats = [claim.bracket.quantity.threat for claim in run.headline() if claim.bracket.quantity.threat.startswith("linf")]
    threat = threats[0] if threats else ""
    robust = {claim.model: claim.bracket for claim in run.claims if threat and claim.bracket.quantity.threat == threat}
    spent = {claim.model: claim.bracket.upper.value for claim in run.claims if claim.bracket.quantity.metric is Metric.EPSILON}
    constant = next(iter(clean.values())).majority_accuracy
    rows = []
    for name, tally in clean.items():
        row = [Cell(run.title(name)), Cell(fmt.percent(tally.accuracy), "low" if tally.accuracy <= constant else "")]
        if threat:
            row += _both(robust.get(name), constant)
        rows.append((*row, Cell(fmt.epsilon(spent[name]) if name in spent else "none")))
    still = [Cell("constant answer", "soft"), *([Cell(fmt.percent(constant), "soft")] * (3 if threat else 1)), Cell("0.00", "soft")]
    size = size_text(threat)
    head = ("model", "clean", *((f"attacked {size}", f"proved {size}") if threat else ()), "epsilon")
    return Table(head, (*rows, tuple(still)))


def _both(bracket: Bracket | None, constant: float) -> list[Cell]:
    if bracket is None:
        return [Cell(fmt.NOTHING), Cell(fmt.NOTHING)]
    upper, lower = bracket.upper, bracket.lower
    attacked = fmt.NOTHING if upper.basis is Basis.TRIVIAL else fmt.percent(upper.value)
    clash = bracket.consistency is not Consistency.CONSISTENT
    proved = fmt.NOTHING if lower.basis is Basis.TRIVIAL else fmt.percent(lower.value)
    return [Cell(attacked, "bad" if clash else "low" if upper.value <= constant else ""), Cell(proved, "bad" if clash else "")]
