"""The section on certificates: both bounds of every certified model, and the gap between them."""

from collections.abc import Sequence

from quintain.core.threat_specs import threat_type
from quintain.report import format as fmt
from quintain.report.accuracy import accuracy_cell
from quintain.report.blocks import Block, FigureRow, Section, TableBlock
from quintain.report.claim_rows import CONFIDENCE
from quintain.report.drawings.bar import stacked_bar
from quintain.report.run_results import RunResults
from quintain.report.sections.accuracy_curves import LEGEND, certified_curves
from quintain.report.table import Cell, Table
from quintain.results.per_example import ExampleState
from quintain.results.records import Claim
from quintain.results.robustness_records import CertifiedModel


def certificate_section(run: RunResults) -> Section | None:
    """Show what is certified, the gap to the attacks, and the interval for the population."""
    if not run.certified_models:
        return None
    attacked = {(one.model, one.threat_type) for one in run.attacked_models}
    apart = tuple(
        certified_curves(run, one)
        for one in run.certified_models
        if (one.model, one.threat_type) not in attacked
    )
    blocks: list[Block] = [FigureRow(apart, LEGEND)] if apart else []
    rows = tuple(row for one in run.certified_models for row in _certificate_rows(run, one))
    head = ("change", "examples", "certified", "under attack", "gap", "95 % interval")
    sampled = any(one.noise_samples for one in run.certified_models)
    legend = (
        ("area proved", "certified"),
        *((("area abstain", "abstained: more noise samples may decide"),) if sampled else ()),
        ("area open", "undecided"),
        ("area broken", "broken"),
        ("area wrong", "misclassified without a change"),
        ("area error", "invalid output (NaN)"),
    )
    blocks += [
        FigureRow((), legend),
        TableBlock(Table(head, rows, num_text_columns=2, caption="Both bounds of every certified model")),
    ]
    lead = (
        "Certified accuracy and accuracy under attack bound the robust accuracy; the 95 % interval is for "
        "the population."
    )
    return Section("certificates", "Certificates", lead, tuple(blocks))


def _certificate_rows(run: RunResults, one: CertifiedModel) -> list[tuple[Cell, ...]]:
    samples = sum(one.noise_samples) / max(1, len(one.noise_samples))
    sampled = f", {samples:,.0f} noise samples an example" if one.noise_samples else ""
    by = (
        f", certified by {one.certifier} in {fmt.seconds(one.seconds)}{sampled}"
        if one.certifier
        else ", not certified"
    )
    rows: list[tuple[Cell, ...]] = [(Cell(run.title(one.model) + by),)]
    for size in one.requested_eps:
        proved, unbroken = (
            one.examples.certified_counts(size, one.num_classes),
            one.examples.unbroken_counts(size, one.num_classes),
        )
        states = one.examples.states(size)
        known = [state for state in ExampleState if one.noise_samples or state is not ExampleState.ABSTAIN]
        fractions = [(state, states.count(state) / len(states)) for state in known]
        spoken = ", ".join(f"{fmt.percent(part)} {state.value}" for state, part in fractions)
        claim = _claim(run, one, size)
        crossed = len(one.examples.contradictory_ids(size))
        open_ = unbroken.accuracy - proved.accuracy
        rows.append(
            (
                Cell(fmt.threat_text(f"{one.threat_type}:{fmt.eps_text(size)}")),
                Cell(stacked_bar([(part, state.value) for state, part in _sort_states(fractions)], spoken)),
                Cell(fmt.percent(proved.accuracy)),
                accuracy_cell(unbroken),
                Cell(f"{crossed} contradictory", "bad") if crossed else Cell(fmt.points(open_).lstrip("+")),
                Cell(
                    fmt.percent_interval(*claim.bracket.confidence_interval(CONFIDENCE))
                    if claim
                    else fmt.NO_VALUE
                ),
            )
        )
    return rows


def _sort_states(fractions: Sequence[tuple[ExampleState, float]]) -> list[tuple[ExampleState, float]]:
    order = (
        ExampleState.CERTIFIED,
        ExampleState.ABSTAIN,
        ExampleState.OPEN,
        ExampleState.BROKEN,
        ExampleState.WRONG,
        ExampleState.ERROR,
    )
    return sorted(fractions, key=lambda pair: order.index(pair[0]))


def _claim(run: RunResults, one: CertifiedModel, size: float) -> Claim | None:
    spec = f"{one.threat_type}:{fmt.eps_text(size)}"
    return next(
        (
            claim
            for claim in run.claims
            if claim.model == one.model
            and (
                claim.bracket.quantity.threat == spec
                or _same_size(claim.bracket.quantity.threat, one.threat_type, size)
            )
        ),
        None,
    )


def _same_size(spec: str, kind: str, size: float) -> bool:
    return threat_type(spec) == kind and abs(fmt.eps_of(spec) - size) <= 1e-9
