"""The section on evasion attacks: curves, accuracy under each attack, its cost, and adversarial examples."""

from collections.abc import Sequence

from quintain.report import format as fmt
from quintain.report.accuracy import accuracy_cell, class_cells, low_note, majority_cell
from quintain.report.blocks import (
    Block,
    Collapsible,
    Figure,
    FigureRow,
    Heading,
    Pictures,
    Section,
    TableBlock,
    Text,
    TwoColumns,
)
from quintain.report.drawings.accuracy_charts import step_chart
from quintain.report.pictures import embed
from quintain.report.registry import blocks_of
from quintain.report.results.attack import broken_by_text
from quintain.report.run_results import RunResults
from quintain.report.sections.accuracy_curves import LEGEND, attacked_curves, certified_curves
from quintain.report.table import Cell, Table, cells
from quintain.results.class_counts import ClassCounts
from quintain.results.robustness_records import (
    AttackDiagnostics,
    AttackedModel,
    AttackResult,
    AttackRow,
    ReplayResult,
)

STICKER_LEAD = "Changes that are one for all pictures: fitted on some, and scored on others."


def evasion_section(run: RunResults) -> Section | None:
    """Show curves, the table of attacks, and adversarial examples."""
    if not run.attacked_models:
        stickers = blocks_of(run, AttackResult)
        return Section("attack", "Evasion attacks", STICKER_LEAD, tuple(stickers)) if stickers else None
    attacked = {(one.model, one.threat_type) for one in run.attacked_models}
    both = [one for one in run.certified_models if (one.model, one.threat_type) in attacked]
    covered = {(one.model, one.threat_type) for one in both}
    drawings = [certified_curves(run, one) for one in both] + [
        attacked_curves(run, one)
        for one in run.attacked_models
        if (one.model, one.threat_type) not in covered
    ]
    lead = "Accuracy by size of the change: the accuracy left by the attacks, above the certified accuracy."
    blocks: list[Block] = [text for one in run.attacked_models for text in diagnostics_text(run, one)]
    charts = tuple(drawing for one in run.attacked_models if (drawing := queries_chart(run, one)))
    tables: list[Block] = []
    for threat_type in dict.fromkeys(one.threat_type for one in run.attacked_models):
        same = [one for one in run.attacked_models if one.threat_type == threat_type]
        matrix = _matrix(run, same)
        tables += [TableBlock(matrix), *low_note(matrix.rows, _at(same[0], 0.0))]
    # a single drawing leaves half of the page's width: its neighbor is the other chart, or the table
    if len(drawings) > 1:
        blocks += [FigureRow(tuple(drawings), LEGEND), *tables]
    elif charts:
        blocks += [FigureRow((*drawings, *charts), LEGEND), *tables]
    else:
        blocks.append(TwoColumns((FigureRow(tuple(drawings), LEGEND),), tuple(tables)))
    blocks.append(Heading("Worst case over all attacks, per class"))
    blocks.append(TableBlock(_class_by_class(run)))
    if charts and len(drawings) > 1:
        blocks += [Heading("Accuracy by number of queries"), FigureRow(charts)]
    blocks.append(Collapsible("all attacks with their cost", (TableBlock(_every_attack(run)),)))
    for one in run.attacked_models:
        if one.gallery:
            blocks.append(Heading(f"Adversarial examples, {run.title(one.model)}"))
            blocks.append(
                Pictures(tuple(tuple(embed(picture, run.folder) for picture in row) for row in one.gallery))
            )
    blocks += blocks_of(run, AttackResult, ReplayResult)
    return Section("attack", "Evasion attacks", lead, tuple(blocks))


def diagnostics_text(run: RunResults, one: AttackedModel) -> list[Text]:
    """Say for one model how far its attacks can be trusted, and what broke how many examples.

    And whether the run is whole.
    """
    lines = []
    title = run.title(one.model)
    if one.stop_reason:
        left = fmt.count(one.num_unattacked, "example")
        text = (
            f"{title}: the run stopped early ({one.stop_reason}); {left} not attacked by all attacks count "
            "as unbroken."
        )
        lines.append(Text(text, "bad"))
    said = [f"trust: {one.diagnostics.summary}."] if one.diagnostics is not None else []
    if one.break_log.found_by:
        said.append(f"First broken by: {broken_by_text(one)}.")
    if any(one.break_log.skipped_certified):
        said.append(
            f"{fmt.count(sum(one.break_log.skipped_certified), 'example')} skipped because they are "
            "certified."
        )
    if said:
        lines.append(
            Text(
                f"{title}, {said[0][0].lower()}{' '.join(said)[1:]}",
                _tone(one.diagnostics),
            )
        )
    return lines


def _tone(diagnostics: AttackDiagnostics | None) -> str:
    if diagnostics is None or diagnostics.summary == "high":
        return ""
    return "bad" if diagnostics.triggered else "open"


def median_queries(row: AttackRow) -> str:
    """Return after how many queries half of the breaks had happened."""
    if len(row.correct_by_queries) < 2:
        return fmt.NO_VALUE
    (_, start), (_, end) = row.correct_by_queries[0], row.correct_by_queries[-1]
    middle = (start + end) / 2
    return f"{next(queries for queries, left in row.correct_by_queries if left <= middle):,}"


def queries_chart(run: RunResults, one: AttackedModel) -> Figure | None:
    """Draw accuracy at the largest eps against the queries of each attack.

    None where no attack broke anything.
    """
    largest = max((row.eps for row in one.rows), default=0.0)
    rows = [row for row in one.rows if row.eps == largest and len(row.correct_by_queries) > 1]
    if not rows:
        return None
    total = len(one.examples.ids)
    lines = [
        (row.attack, [(float(max(queries, 1)), left / total) for queries, left in row.correct_by_queries])
        for row in rows
    ]
    said = "; ".join(
        f"{row.attack}: {fmt.percent(row.correct_by_queries[-1][1] / total)} after "
        f"{row.correct_by_queries[-1][0]:,}"
        for row in rows
    )
    spoken = f"{run.title(one.model)}, accuracy by number of queries: {said}"
    return Figure(
        f"{run.title(one.model)}, {fmt.threat_text(rows[0].threat)}, by number of queries",
        step_chart(lines, title="queries per example", alt_text=spoken),
    )


def _matrix(run: RunResults, attacks: Sequence[AttackedModel]) -> Table:
    """Return accuracy by attack and eps, one column a model."""
    found = {(row.threat, row.attack, one.model): row for one in attacks for row in one.rows}
    names = [one.model for one in attacks]
    rows: list[tuple[Cell, ...]] = []
    clean = {one.model: _at(one, 0.0) for one in attacks}
    rows.append((Cell("unchanged"), *(accuracy_cell(clean[name]) for name in names)))
    for spec, size in _sizes(attacks):
        rows.append((Cell(fmt.threat_text(spec), "head"),))
        for attack in dict.fromkeys(attack for other, attack, _ in found if other == spec):
            hits = [found.get((spec, attack, name)) for name in names]
            rows.append(
                (
                    Cell(attack),
                    *(accuracy_cell(hit.unbroken_counts) if hit else Cell(fmt.NO_VALUE) for hit in hits),
                )
            )
        every = [_at(one, size) for one in attacks]
        rows.append((Cell("worst case", "strong"), *(accuracy_cell(counts, strong=True) for counts in every)))
    return Table(
        ("attack", *(run.title(name) for name in names)), tuple(rows), caption="Accuracy under attack"
    )


def _class_by_class(run: RunResults) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for one in run.attacked_models:
        rows.append((Cell(run.title(one.model)),))
        for spec, size in _sizes([one]):
            counts = _at(one, size)
            rows.append(
                (
                    Cell(fmt.threat_text(spec)),
                    accuracy_cell(counts),
                    *class_cells(counts),
                    majority_cell(counts),
                )
            )
    head = ("change", "accuracy", "balanced", "sensitivity", "specificity", "majority class")
    return Table(head, tuple(rows), caption="Worst case over all attacks, per class")


def _every_attack(run: RunResults) -> Table:
    def line(one: AttackedModel, row: AttackRow) -> tuple[Cell, ...]:
        cost = (
            median_queries(row),
            fmt.number(row.forwards),
            fmt.number(row.backwards),
            fmt.seconds(row.seconds),
        )
        return (
            *cells(run.title(one.model), row.attack, fmt.threat_text(row.threat)),
            accuracy_cell(row.unbroken_counts),
            *class_cells(row.unbroken_counts),
            *cells(*cost),
        )

    head = (
        "model",
        "attack",
        "change",
        "accuracy",
        "balanced",
        "sensitivity",
        "specificity",
        "median queries to success",
        "forward passes",
        "gradients",
        "time",
    )
    caption = (
        "All attacks. Queries to success: median over broken examples. Forward passes and gradients: mean "
        "per example; an example costs nothing more once it is broken."
    )
    return Table(
        head,
        tuple(line(one, row) for one in run.attacked_models for row in one.rows),
        num_text_columns=3,
        caption=caption,
    )


def _sizes(attacks: Sequence[AttackedModel]) -> list[tuple[str, float]]:
    """Return threat specs and their eps, rising."""
    return sorted(
        {row.threat: row.eps for one in attacks for row in one.rows}.items(), key=lambda pair: pair[1]
    )


def _at(one: AttackedModel, size: float) -> ClassCounts:
    classes = max((len(row.unbroken_counts.total) for row in one.rows), default=max(one.examples.labels) + 1)
    return one.examples.unbroken_counts(size, classes)
