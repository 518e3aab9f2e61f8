"""The section "Is it anonymous?": how surely members can be told, held from both sides."""

from collections.abc import Sequence

from quintain.report import format as fmt
from quintain.report.blocks import Block, Section, TableBlock, Text
from quintain.report.claim_rows import CONFIDENCE
from quintain.report.leak_table import is_shown_to_leak
from quintain.report.run_results import RunResults
from quintain.report.table import Cell, Table
from quintain.results.bounds import Consistency
from quintain.results.leak_records import LeakMeasurement, at_false_alarms, name_of_title, title_of_claim
from quintain.results.privacy_records import LeakResult
from quintain.results.quantity import Basis, Metric, Side
from quintain.results.records import Claim

METRICS = (Metric.MEMBERSHIP_ADVANTAGE, Metric.MEMBERSHIP_TPR, Metric.REIDENTIFIED)

LEAD = (
    "A model is anonymous as far as nobody can tell from it who was trained on. An attack shows how surely "
    "one can tell at least, a claimed epsilon how surely at most; removing names does neither."
)

SMALL = 0.01
"""A bound on the advantage below which an attacker is nearly reduced to guessing."""


def anonymity_section(run: RunResults) -> Section | None:
    """Return the section; None where nothing bounds what attackers find out."""
    claims = [claim for claim in run.claims if claim.bracket.quantity.metric in METRICS]
    if not claims:
        return None
    blocks: list[Block] = [Text(sentence) for sentence in _answers(run, claims)]
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


def _answers(run: RunResults, claims: Sequence[Claim]) -> list[str]:
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
            answer = f"no, {_leak_text(worst)}{_limit_text(limited)}"
        elif limited:
            answer = f"{_no_leak_text(own, _measurements_of(run, model, claims))}{_limit_text(limited)}"
        else:
            answer = (
                f"{_no_leak_text(own, _measurements_of(run, model, claims))}, and nothing limits a stronger "
                "attack: no privacy is claimed"
            )
        name = "This model" if model == "model" else f"Model {model}"
        answers.append(f"{name}: {answer}.")
    return answers


def _measurements_of(run: RunResults, model: str, claims: Sequence[Claim]) -> list[LeakMeasurement]:
    """Return the measurements of a model; those without a claim count for the first claimed model."""
    names, first = {claim.model for claim in claims}, claims[0].model
    found = [one for result in run.results_of(LeakResult) for one in result.measurements]
    return [one for one in found if (name if (name := name_of_title(one.model)) in names else first) == model]


def _no_leak_text(claims: Sequence[Claim], measured: Sequence[LeakMeasurement]) -> str:
    """Say what no attack did, or what one seemed to do and is not shown."""
    metrics = {claim.bracket.quantity.metric for claim in claims}
    texts = []
    if metrics - {Metric.REIDENTIFIED}:
        seen = [one for one in measured if one.metric in metrics - {Metric.REIDENTIFIED} and one.gain > 0]
        texts.append(
            f"not shown that members are told from others: {_by_chance_text(seen)}"
            if seen
            else "no attack of this run told members from others"
        )
    if Metric.REIDENTIFIED in metrics:
        seen = [one for one in measured if one.metric is Metric.REIDENTIFIED and one.value > 0]
        texts.append(
            f"not shown that faces are known again: {_by_chance_text(seen)}"
            if seen
            else "no attack of this run made a face that is known again"
        )
    return "; ".join((*texts, *_other_leaks(measured)))


def _by_chance_text(found: Sequence[LeakMeasurement]) -> str:
    """Say what the best attack reached without showing a leak: ``3 of 5 were, which chance may explain``."""
    best = max(found, key=lambda one: one.gain)
    reached = {
        Metric.REIDENTIFIED: f"{round(best.value * best.count)} of {best.count} were",
        Metric.MEMBERSHIP_ADVANTAGE: f"an advantage of {fmt.percent(best.value)} was reached",
    }.get(
        best.metric or Metric.MEMBERSHIP_TPR,
        f"{fmt.percent(best.value)} were found{at_false_alarms(best.fpr or 0.0)}",
    )
    paid = ", with the choice among attacks paid for" if is_shown_to_leak(best) else ""
    return f"{reached} ({fmt.percent(best.baseline)} without access), which chance may explain{paid}"


def _other_leaks(measured: Sequence[LeakMeasurement]) -> tuple[str, ...]:
    """Name measures of the same goals that show a leak and bound none of these quantities."""
    goals = {one.goal for one in measured if one.metric in METRICS}
    names = dict.fromkeys(
        one.measure for one in measured if one.goal in goals and one.metric is None and is_shown_to_leak(one)
    )
    return (f"yet an attack does better than what needs no access by {', '.join(names)}",) if names else ()


def _limit_text(limited: Sequence[Claim]) -> str:
    advantage = [one for one in limited if one.bracket.quantity.metric is Metric.MEMBERSHIP_ADVANTAGE]
    if not advantage:
        return ""
    value = min(one.bracket.upper.value for one in advantage)
    return f"; the claimed privacy allows an advantage of at most {fmt.percent(value)}"


def _leak_text(claim: Claim) -> str:
    """Say what the best attack reaches: ``an attack finds at least 3.6 % of ...``."""
    bracket, quantity = claim.bracket, claim.bracket.quantity
    least = f"at least {fmt.metric_value(quantity.metric, bracket.lower.value, Side.LOWER)}"
    phrases = {
        Metric.MEMBERSHIP_ADVANTAGE: f"tells who was trained on with an advantage of {least}",
        Metric.MEMBERSHIP_TPR: f"finds {least} of the training examples{at_false_alarms(quantity.fpr)}",
        Metric.REIDENTIFIED: f"identifies {least} of the people",
    }
    return f"an attack {phrases[quantity.metric]} ({_candidates(claim)})"


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
        Cell(title_of_claim(bracket.quantity, _candidates(claim))),
        Cell(bracket.lower.method),
        Cell(fmt.metric_value(metric, low, Side.LOWER), "bad" if clash or low > _guessing(claim) else ""),
        Cell(fmt.percent(high) if limited else "nothing claimed", "bad" if clash else ""),
        Cell(fmt.NO_VALUE if metric is Metric.REIDENTIFIED else fmt.percent(_guessing(claim))),
    )
