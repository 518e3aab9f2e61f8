"""Federated training: accuracy by round, the sites, and what the server saw of them."""

from collections.abc import Iterator

from quintain.core import rounding
from quintain.report import format as fmt
from quintain.report.accuracy import accuracy_text, balanced_text
from quintain.report.blocks import (
    Block,
    Collapsible,
    Figure,
    FigureRow,
    TableBlock,
    Text,
    TwoColumns,
)
from quintain.report.drawings.accuracy_charts import round_chart
from quintain.report.presentation import Presentation
from quintain.report.run_results import RunResults
from quintain.report.table import Cell, Table, cells
from quintain.results.privacy_records import FederateResult, FederationPrivacyResult, RoundResult

MAX_COLUMNS = 10
"""With more classes, the table of sites does not count the examples of each."""


def _summary(result: FederateResult) -> Iterator[str]:
    last, best = result.rounds[-1], max(site.local_counts.accuracy for site in result.sites)
    gone = (
        ", ".join(f"{name} in round {one.round}" for one in result.rounds for name in one.dropped) or "none"
    )
    summed = [one for one in result.rounds if one.survivors]
    exact = sum(one.sum_exact for one in summed)
    yield (
        f"federated {accuracy_text(last.global_counts)}; best local-only {fmt.percent(best)}, "
        f"centralized {fmt.percent(result.centralized_counts.accuracy)}; "
        f"dropped out: {gone}; the {_sum_text(result)} was exact in {exact} of {len(summed)} rounds"
        + "; the server saw each site's update"
        * result.server_saw_updates
    )
    if result.privacy is not None:
        yield _privacy_text(result.privacy)


def _privacy_text(privacy: FederationPrivacyResult) -> str:
    unit = "site" if privacy.privacy_unit == "client" else privacy.privacy_unit
    return (
        f"privacy of the federation: epsilon {rounding.epsilon(privacy.epsilon)} at delta "
        f"{privacy.delta:g} for one {unit} over all rounds, by {privacy.mechanism}"
    )


def _sum_text(result: FederateResult) -> str:
    return "plain sum" if result.server_saw_updates else "secure sum"


def _blocks(one: FederateResult, run: RunResults) -> list[Block]:
    blocks: list[Block] = []
    if one.rounds:
        blocks.append(TwoColumns((FigureRow((_curve(one),)),), (TableBlock(_server(one)),)))
        summed = [each for each in one.rounds if each.survivors]
        exact = sum(each.sum_exact for each in summed)
        found = (
            "The server saw each site's update; the plain sum is exact"
            if one.server_saw_updates
            else "The secure sum equals the plain one exactly"
        )
        sentence = f"{found} in {exact} of {fmt.count(len(summed), 'round')}."
        gone = len(one.rounds) - len(summed)
        sentence += f" {fmt.count(gone, 'round')} came to no sum and left the model as it was." * bool(gone)
        blocks.append(Text(f"{sentence} Protocol: {one.protocol}.", "bad" if exact < len(summed) else ""))
    if one.guarantee:
        blocks.append(Text(f"What the sums hide ({one.aggregation}): {one.guarantee}."))
    if one.privacy is not None:
        sentence = ". ".join((_privacy_text(one.privacy), *one.privacy.notes))
        blocks.append(Text(f"{sentence[0].upper()}{sentence[1:]}."))
    blocks.append(TableBlock(_sites(run, one)))
    if one.rounds:
        blocks.append(Collapsible("round by round", (TableBlock(_rounds(one)),)))
    return blocks


def _curve(one: FederateResult) -> Figure:
    curve = [(each.round, each.global_counts.accuracy) for each in one.rounds]
    last = one.rounds[-1].global_counts
    references = [
        (
            one.centralized_counts.accuracy,
            f"centralized {fmt.percent(one.centralized_counts.accuracy)}",
            "pooled",
        )
    ]
    if one.sites:
        alone = max(site.local_counts.accuracy for site in one.sites)
        references.append((alone, f"best local {fmt.percent(alone)}", "alone"))
    references.append((last.majority_accuracy, f"majority {fmt.percent(last.majority_accuracy)}", "constant"))
    marks = [
        (float(each.round), f"{', '.join(each.dropped)} dropped out") for each in one.rounds if each.dropped
    ]
    spoken = "accuracy by round: " + ", ".join(
        f"{number}: {fmt.percent(accuracy)}" for number, accuracy in curve
    )
    spoken = "; ".join(
        (
            spoken,
            *(text for _, text, _ in references),
            *(f"round {number:g}: {text}" for number, text in marks),
        )
    )
    name = f"federated {fmt.percent(last.accuracy)}"
    return Figure(
        "Accuracy by round", round_chart(curve, name, references, marks, title="round", alt_text=spoken)
    )


def _server(one: FederateResult) -> Table:
    """Return what reached the server in the round that tested the protocol most.

    That is a round with dropouts if there is one.
    """
    each: RoundResult = max(
        one.rounds, key=lambda each: (bool(each.survivors), len(each.dropped), each.round)
    )
    rows = (
        cells("updates in the clear", str(len(each.survivors)))
        if one.server_saw_updates
        else cells(
            "hidden vectors",
            f"{each.masked_vectors} of {len(each.survivors) + len(each.dropped)}",
        ),
        cells("dropped out", ", ".join(each.dropped) or "none"),
        (Cell("sum of the others is exact"), _exact(each)),
        cells("sent by a site", fmt.size_in_bytes(each.bytes_uploaded)),
        cells(f"{_sum_text(one)}, all parties", fmt.seconds(each.seconds)),
    )
    return Table((f"what the server saw, round {each.round}", ""), rows, caption="What the server saw")


def _exact(each: RoundResult) -> Cell:
    """Whether a round's sum is exact; an abandoned round has none, which is no fault of the sum."""
    if not each.survivors:
        return Cell("no sum")
    return Cell("yes") if each.sum_exact else Cell("NO", "bad")


def _sites(run: RunResults, one: FederateResult) -> Table:
    """Show the sites with their examples: of each class, or of all where the classes are many."""
    classes = max((len(site.class_counts) for site in one.sites), default=0)
    is_wide = classes > MAX_COLUMNS
    rows = tuple(
        cells(
            site.name,
            *(
                (f"{sum(site.class_counts):,}", f"{sum(map(bool, site.class_counts))} of {classes}")
                if is_wide
                else (f"{many:,}" for many in site.class_counts)
            ),
            fmt.percent(site.local_counts.accuracy),
            balanced_text(site.local_counts),
        )
        for site in one.sites
    )
    columns = ("examples", "classes") if is_wide else run.class_names(classes)
    head = ("site", *columns, "accuracy, local only", "balanced")
    return Table(head, rows, caption="The sites, and what each reaches alone")


def _rounds(one: FederateResult) -> Table:
    rows = tuple(
        (
            *cells(str(each.round), ", ".join(each.dropped) or "none"),
            *cells(fmt.percent(each.global_counts.accuracy), balanced_text(each.global_counts)),
            Cell(str(each.masked_vectors)),
            _exact(each),
            *cells(fmt.size_in_bytes(each.bytes_uploaded), fmt.seconds(each.seconds)),
        )
        for each in one.rounds
    )
    head = ("round", "dropped out", "accuracy", "balanced", "hidden vectors", "sum exact", "upload", "time")
    return Table(head, rows, num_text_columns=2, caption="Round by round")


PRESENTATION = Presentation(FederateResult, "Federated learning", summary=_summary, blocks=_blocks)
