"""The section "Is it anonymous?": how surely members can be told, held from both sides."""

from collections.abc import Sequence

from quintain.report import format as fmt
from quintain.report.blocks import Block, Section, TableBlock, Text
from quintain.report.claim_rows import CONFIDENCE
from quintain.report.run_results import RunResults
from quintain.report.table import Cell, Table
from quintain.results.bounds import Consistency
from quintain.results.quantity import Basis, Metric, Side
from quintain.results.records import Claim

METRICS = (Metric.MEMBERSHIP_ADVANTAGE, Metric.MEMBERSHIP_TPR, Metric.REIDENTIFIED)

LEAD = (
    "A model is anonymous as far as nobody can tell from it who was trained on. An attack shows how surely "
    "one can tell at least, a claimed epsilon how surely at most; removing names does neither."
)

TITLES = {
    Metric.MEMBERSHIP_ADVANTAGE: "Membership advantage",
    Metric.MEMBERSHIP_TPR: "Training examples found",
    Metric.REIDENTIFIED: "People identified",
}
"""What a claim on each metric is about."""

SMALL = 0.01
"""A bound on the advantage below which an attacker is nearly reduced to guessing."""


def anonymity_section(run: RunResults) -> Section | None:
    """Return the section; None where nothing bounds what attackers find out."""
    claims = [claim for claim in run.claims if claim.bracket.quantity.metric in METRICS]
    if not claims:
        return None
    blocks: list[Block] = [Text(sentence) for sentence in _answers(claims)]
    blocks.append(TableBlock(_table(claims)))
    blocks.append(
        Text(
            "At least: what the best attack reaches, the choice among attacks and thresholds paid for; "
            "candidates are taken to be independent of each other. At most: what no attack exceeds, whatever "
            "it knows, if the claimed privacy holds. Guessing: what whoever never saw the model reaches.",
            "soft",
        )
    )
    return Section("anonymity", "Is it anonymous?", LEAD, tuple(blocks))


def _answers(claims: Sequence[Claim]) -> list[str]:
    """Answer the question for each model, by its own numbers."""
    answers = []
    for model in dict.fromkeys(claim.model for claim in claims):
        own = [claim for claim in claims if claim.model == model]
        found = [
            claim for claim in own if claim.bracket.confidence_interval(CONFIDENCE)[0] > _guessing(claim)
        ]
        limited = [claim for claim in own if claim.bracket.upper.basis is not Basis.TRIVIAL]
        clash = [claim for claim in own if claim.bracket.consistency is not Consistency.CONSISTENT]
        if clash:
            answer = "an attack finds out more than the claimed privacy allows; do not rely on the claim"
        elif found:
            worst = max(found, key=lambda claim: claim.bracket.lower.value)
            answer = f"no, {_finding(worst)}{_limit(limited)}"
        elif limited:
            answer = f"no attack of this run {_not_found(own)}{_limit(limited)}"
        else:
            answer = (
                f"no attack of this run {_not_found(own)}, and nothing limits a stronger one: no privacy is "
                "claimed"
            )
        name = "This model" if model == "model" else f"Model {model}"
        answers.append(f"{name}: {answer}.")
    return answers


def _not_found(claims: Sequence[Claim]) -> str:
    """Return what no attack did, in words."""
    metrics = {claim.bracket.quantity.metric for claim in claims}
    words = [
        *(["told members from others"] if metrics - {Metric.REIDENTIFIED} else []),
        *(["made a face that is known again"] if Metric.REIDENTIFIED in metrics else []),
    ]
    return " or ".join(words)


def _limit(limited: Sequence[Claim]) -> str:
    advantage = [one for one in limited if one.bracket.quantity.metric is Metric.MEMBERSHIP_ADVANTAGE]
    if not advantage:
        return ""
    value = min(one.bracket.upper.value for one in advantage)
    return f"; the claimed privacy allows an advantage of at most {fmt.percent(value)}"


def _finding(claim: Claim) -> str:
    """Say what the best attack reaches: ``an attack finds at least 3.6 % of ...``."""
    bracket, quantity = claim.bracket, claim.bracket.quantity
    least = f"at least {fmt.metric_value(quantity.metric, bracket.lower.value, Side.LOWER)}"
    said = {
        Metric.MEMBERSHIP_ADVANTAGE: f"tells who was trained on with an advantage of {least}",
        Metric.MEMBERSHIP_TPR: f"finds {least} of the training examples{_at(claim)}",
        Metric.REIDENTIFIED: f"identifies {least} of the people",
    }
    return f"an attack {said[quantity.metric]} ({_candidates(claim)})"


def _at(claim: Claim) -> str:
    fpr = claim.bracket.quantity.fpr
    return "" if fpr is None else f" at {100 * fpr:g} % false alarms"


def _candidates(claim: Claim) -> str:
    return claim.name.rpartition(":")[2]


def _guessing(claim: Claim) -> float:
    """Return what guessing reaches."""
    quantity = claim.bracket.quantity
    return quantity.fpr or (0.0 if quantity.metric is Metric.MEMBERSHIP_ADVANTAGE else SMALL)


def _table(claims: Sequence[Claim]) -> Table:
    """Return each quantity in a row, model by model."""
    rows: list[tuple[Cell, ...]] = []
    models = dict.fromkeys(claim.model for claim in claims)
    for model in models:
        rows += [(Cell(model),)] if len(models) > 1 else []
        rows += [_row(claim) for claim in claims if claim.model == model]
    head = ("what attackers reach", "attacks", "at least (95 % sure)", "at most", "guessing")
    return Table(head, tuple(rows), num_text_columns=2, caption="Held from both sides")


def _row(claim: Claim) -> tuple[Cell, ...]:
    bracket, metric = claim.bracket, claim.bracket.quantity.metric
    low, high = bracket.confidence_interval(CONFIDENCE)
    limited = bracket.upper.basis is not Basis.TRIVIAL
    clash = bracket.consistency is not Consistency.CONSISTENT
    return (
        Cell(f"{TITLES[metric]}{_at(claim)}, {_candidates(claim)}"),
        Cell(bracket.lower.method),
        Cell(fmt.metric_value(metric, low, Side.LOWER), "bad" if clash or low > _guessing(claim) else ""),
        Cell(fmt.percent(high) if limited else "nothing claimed", "bad" if clash else ""),
        Cell(fmt.NO_VALUE if metric is Metric.REIDENTIFIED else fmt.percent(_guessing(claim))),
    )
