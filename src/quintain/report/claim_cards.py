"""The key claims of the page: each a card with a bar, and what there is to know of it in words."""

from dataclasses import dataclass, replace

from markupsafe import Markup

from quintain.core.errors import UsageError
from quintain.report import claim_rows
from quintain.report import format as fmt
from quintain.report.accuracy import balanced_text
from quintain.report.drawings.bar import PERCENT, AxisScale, bracket_bar, scale_to
from quintain.report.drawings.svg import Tick
from quintain.report.run_results import RunResults
from quintain.results.bounds import Bracket, Consistency
from quintain.results.evidence import CountEvidence
from quintain.results.privacy_records import AuditResult, AuditRun
from quintain.results.quantity import Basis, Metric, Side
from quintain.results.records import Claim, RequirementResult
from quintain.results.requirements import Requirement
from quintain.results.second_opinion import SecondOpinionResult


@dataclass(frozen=True, slots=True)
class ClaimCard:
    """A claim on the page.

    Args:
        title, about: What is claimed of which model, and under which threat.
        badge: A decision, an alarm, or how the claim compares with the majority class.
        primary: Whether requirements that name no model are about it.
        bar: The drawing.
        lines: What stands under it.
    """

    title: str
    about: str
    badge: claim_rows.Badge
    primary: bool
    bar: Markup
    lines: tuple[str, ...]


def card(run: RunResults, claim: Claim) -> ClaimCard:
    """Return one claim with its bar and what there is to know of it."""
    threat = fmt.threat_text(claim.bracket.quantity.threat)
    delta = claim.bracket.quantity.delta
    about = threat or ("" if delta is None else f"epsilon at delta {fmt.delta(delta)}")
    audit = audit_of(run, claim)
    lines = (
        _leak_lines(claim)
        if claim.bracket.quantity.metric.is_leak
        else _privacy_lines(run, claim, audit)
        if claim.bracket.quantity.metric is Metric.EPSILON
        else _accuracy_lines(run, claim)
    )
    return ClaimCard(
        title=claim.title,
        about=about,
        badge=claim_rows.claim_badge(run, claim),
        primary=claim.primary,
        bar=claim_bar(claim.bracket, requirements=run.requirements_of(claim), audit=audit),
        lines=lines,
    )


def claim_bar(
    bracket: Bracket,
    *,
    requirements: tuple[RequirementResult, ...] = (),
    audit: AuditRun | None = None,
    scale: AxisScale | None = None,
) -> Markup:
    """Return a bracket's bar, with requirements, and the majority class or the largest detectable epsilon."""
    kind = bracket.quantity.metric
    marks = [mark for one in requirements if (mark := _mark(one, kind))]
    below: Tick | None = None
    if bracket.baseline is not None and not kind.less_is_better:
        below = (bracket.baseline, f"majority class {fmt.percent(bracket.baseline)}")
    elif audit is not None:
        below = (
            audit.max_auditable_epsilon,
            f"largest detectable {fmt.epsilon(audit.max_auditable_epsilon)}",
        )
    limits = bracket.confidence_interval(claim_rows.CONFIDENCE)
    labels = (claim_rows.bound_text(bracket, Side.LOWER), claim_rows.bound_text(bracket, Side.UPPER))
    if scale is None:
        known = (
            bracket.lower.value,
            bracket.upper.value,
            *limits,
            *(value for value, _ in marks),
            below[0] if below else 0.0,
        )
        scale = scale_to(*known) if kind is Metric.EPSILON else PERCENT
    spoken = ", ".join(
        (
            *labels,
            f"95 %: {fmt.interval(kind, *limits)}",
            *(text for _, text in marks),
            *((below[1],) if below else ()),
        )
    )
    return bracket_bar(
        (bracket.lower.value, bracket.upper.value),
        limits,
        labels,
        scale=scale,
        higher_is_better=not kind.less_is_better,
        required=marks,
        marker=below,
        alt_text=spoken,
    )


def audit_of(run: RunResults, claim: Claim) -> AuditRun | None:
    """Return the audit that a claim's lower bound comes from."""
    audited: list[AuditResult | SecondOpinionResult] = list(run.results_of(AuditResult))
    audited += run.results_of(SecondOpinionResult)
    runs = [one for result in audited for one in (result.audit, result.control)]
    return next((one for one in runs if one and one.lower == claim.bracket.lower), None)


def _mark(one: RequirementResult, kind: Metric) -> Tick | None:
    try:
        required = Requirement.parse(one.requirement)
    except UsageError:
        return None
    relation = {">=": "≥", "<=": "≤"}[required.relation]
    what = "required under attack" if required.under_attack else "required"
    return required.value, f"{what} {relation} {fmt.metric_value(kind, required.value)}"


def _accuracy_lines(run: RunResults, claim: Claim) -> tuple[str, ...]:
    bracket = claim.bracket
    lines = [_counts(bracket)]
    low, high = bracket.confidence_interval(claim_rows.CONFIDENCE)
    if bracket.lower.is_statistical or bracket.upper.is_statistical:
        lines.append(
            f"95 % interval for the population ({_examples(run, bracket)}): "
            f"{fmt.interval(bracket.quantity.metric, low, high)}."
        )
    if bracket.baseline is not None and bracket.consistency is Consistency.CONSISTENT:
        if bracket.upper.value <= bracket.baseline:
            lines.append("Not above the majority class.")
        elif bracket.lower.value > bracket.baseline:
            lines.append("Both bounds are above the majority class.")
    if claim.upper_counts is not None and len(claim.upper_counts.total) == 2:
        under = "Under attack: " if bracket.quantity.threat else ""
        parts = (
            ("balanced", balanced_text(claim.upper_counts)),
            ("sensitivity", fmt.percent(claim.upper_counts.sensitivity)),
            ("specificity", fmt.percent(claim.upper_counts.specificity)),
        )
        text = under + ", ".join(f"{name} {value}" for name, value in parts) + "."
        lines.append(text[0].upper() + text[1:])
    elif claim.upper_counts is not None and len(claim.upper_counts.total) > 2:
        filled, classes = claim.upper_counts.num_filled_classes, len(claim.upper_counts.total)
        over = f"{filled:,} of {classes:,}" if filled < classes else f"{classes}"
        lines.append(f"Balanced over {over} classes: {fmt.percent(claim.upper_counts.balanced_accuracy)}.")
    if bracket.num_invalid:
        lines.append(
            f"{fmt.count(bracket.num_invalid, 'example')} with an invalid output (NaN): neither certified "
            "nor broken."
        )
    return tuple(line for line in lines if line)


def _counts(bracket: Bracket) -> str:
    lower, upper = bracket.lower.evidence, bracket.upper.evidence
    if not isinstance(upper, CountEvidence):
        return ""
    words = "misclassified or broken" if bracket.quantity.threat else "misclassified"
    lost = f"{words} {upper.trials - upper.hits} of {upper.trials}"
    if not isinstance(lower, CountEvidence):
        return f"{lost}; the other {upper.hits} are not certified.".capitalize()
    if not bracket.quantity.threat:
        return f"{upper.hits} of {upper.trials} correct."
    method = (
        f" by {bracket.lower.method}"
        if bracket.lower.method and bracket.lower.basis is not Basis.TRIVIAL
        else ""
    )
    gap = upper.hits - lower.hits
    undecided = (
        f"undecided {gap} ({fmt.percent(gap / upper.trials)})"
        if gap >= 0
        else f"both certified and broken {-gap}"
    )
    return f"Certified {lower.hits}{method}, {undecided}, {lost}."


_UPPER_BOUNDS = {
    Basis.TRIVIAL: "Without noise epsilon has no upper bound.",
    Basis.CLAIMED: "The upper bound is claimed by whoever trained; nothing here proves it.",
}
"""What is said of an upper bound on epsilon that no accountant gave."""


def _privacy_lines(run: RunResults, claim: Claim, audit: AuditRun | None) -> tuple[str, ...]:
    bracket, of = claim.bracket, claim.bracket.quantity
    facts = [
        f"Neighboring data sets differ by {of.adjacency or 'change'} of one {of.privacy_unit or 'record'}"
    ]
    lines = [_UPPER_BOUNDS.get(bracket.upper.basis, f"Accounted by {bracket.upper.method}.")]
    lines.append("; ".join([*facts, f"the adversary sees {of.released}"] if of.released else facts) + ".")
    if audit is not None:
        lines.append(
            f"Audit: {fmt.count(audit.canaries, 'canary', 'canaries')}, {audit.correct} of {audit.guesses} "
            "guesses correct."
        )
        lines.append(auditable_epsilon_text(audit, bracket.upper.value))
    elif bracket.lower.basis is Basis.TRIVIAL:
        audited = _find_audit_of_mechanism(run, claim)
        if audited is None:
            lines.append("Not audited: no lower bound is known.")
        else:
            found = claim_rows.bound_text(audited, Side.LOWER)
            lines.append(f"The audit of this mechanism is a claim of its own: {found}.")
    return tuple(line for line in lines if line)


def _leak_lines(claim: Claim) -> tuple[str, ...]:
    """Say what the lower side of a leak is by, and what its upper side follows from."""
    lower, upper = claim.bracket.lower, claim.bracket.upper
    return (
        f"Attacked by {lower.method}."
        if lower.basis is not Basis.TRIVIAL
        else f"No attack shows more than nothing: {lower.method}.",
        f"{upper.method[:1].upper()}{upper.method[1:]}.",
        *(f"Assumes: {'; '.join(lower.assumptions)}." for _ in lower.assumptions[:1]),
    )


def _find_audit_of_mechanism(run: RunResults, claim: Claim) -> Bracket | None:
    """Return a bracket of the run with a lower bound on epsilon of the same mechanism on other records."""
    quantity = claim.bracket.quantity
    found = (other.bracket for other in run.claims if other.bracket.lower.basis is not Basis.TRIVIAL)
    return next(
        (one for one in found if replace(one.quantity, data_hash=quantity.data_hash) == quantity), None
    )


def auditable_epsilon_text(audit: AuditRun, claim: float) -> str:
    """Say what an audit of this size can detect, and whether it could contradict the claim at all."""
    text = (
        f"An audit of this size can detect at most {fmt.epsilon(audit.max_auditable_epsilon)} with "
        f"{100 * audit.confidence:g} % confidence"
    )
    return text + (": it cannot contradict this claim." if audit.max_auditable_epsilon < claim else ".")


def _examples(run: RunResults, bracket: Bracket) -> str:
    trials = next(
        (e.trials for e in (bracket.lower.evidence, bracket.upper.evidence) if isinstance(e, CountEvidence)),
        0,
    )
    return f"{trials} {fmt.noun(run.data.name)}"
