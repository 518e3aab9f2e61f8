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
from quintain.results.robustness_records import (
    AttackDiagnostics,
    AttackedModel,
    AttackResult,
    AttackRow,
    ReplayResult,
)

UNIVERSAL_LEAD = "Universal perturbations: one change for all images, fitted on some and scored on others."


def evasion_section(run: RunResults) -> Section | None:
    """Return curves, tables of accuracy and cost, and adversarial examples; None without any attack."""
    if not run.attacked_models:
        universal = blocks_of(run, AttackResult)
        return Section("attack", "Evasion attacks", UNIVERSAL_LEAD, tuple(universal)) if universal else None
    attacked_keys = {(attacked.model, attacked.threat_type) for attacked in run.attacked_models}
    proved_and_attacked = [
        proved for proved in run.certified_models if (proved.model, proved.threat_type) in attacked_keys
    ]
    proved_keys = {(proved.model, proved.threat_type) for proved in proved_and_attacked}
    drawings = [certified_curves(run, proved) for proved in proved_and_attacked] + [
        attacked_curves(run, attacked)
        for attacked in run.attacked_models
        if (attacked.model, attacked.threat_type) not in proved_keys
    ]
    lead = "Accuracy by size of the change: the accuracy left by the attacks, above the certified accuracy."
    blocks: list[Block] = [
        text for attacked in run.attacked_models for text in diagnostics_text(run, attacked)
    ]
    charts = tuple(chart for attacked in run.attacked_models if (chart := queries_chart(run, attacked)))
    tables: list[Block] = []
    for threat_type in dict.fromkeys(attacked.threat_type for attacked in run.attacked_models):
        same_type = [attacked for attacked in run.attacked_models if attacked.threat_type == threat_type]
        table = _accuracy_table(run, same_type)
        tables += [TableBlock(table), *low_note(table.rows, same_type[0].unbroken_counts(0.0))]
    # a single drawing fills half of the page's width: beside it goes the chart of queries, or the tables
    if len(drawings) > 1:
        blocks += [FigureRow(tuple(drawings), LEGEND), *tables]
    elif charts:
        blocks += [FigureRow((*drawings, *charts), LEGEND), *tables]
    else:
        blocks.append(TwoColumns((FigureRow(tuple(drawings), LEGEND),), tuple(tables)))
    blocks.append(Heading("Worst case over all attacks, per class"))
    blocks.append(TableBlock(_per_class_table(run)))
    if charts and len(drawings) > 1:
        blocks += [Heading("Accuracy by number of queries"), FigureRow(charts)]
    blocks.append(Collapsible("all attacks with their cost", (TableBlock(_cost_table(run)),)))
    for attacked in run.attacked_models:
        if attacked.gallery:
            rows = (tuple(embed(picture, run.folder) for picture in row) for row in attacked.gallery)
            blocks.append(Heading(f"Adversarial examples, {run.title(attacked.model)}"))
            blocks.append(Pictures(tuple(rows)))
    blocks += blocks_of(run, AttackResult, ReplayResult)
    return Section("attack", "Evasion attacks", lead, tuple(blocks))


def diagnostics_text(run: RunResults, attacked: AttackedModel) -> list[Text]:
    """Say whether a model's run is whole, how far its attacks can be trusted, and what broke how many."""
    lines = []
    title = run.title(attacked.model)
    if attacked.stop_reason:
        left = fmt.count(attacked.num_unattacked, "example")
        text = (
            f"{title}: the run stopped early ({attacked.stop_reason}); {left} not attacked by all attacks "
            "count as unbroken."
        )
        lines.append(Text(text, "bad"))
    sentences = []
    if attacked.diagnostics is not None:
        sentences.append(f"trust: {attacked.diagnostics.summary}.")
    if attacked.break_log.found_by:
        sentences.append(f"first broken by: {broken_by_text(attacked)}.")
    if num_skipped := sum(attacked.break_log.skipped_certified):
        sentences.append(f"{fmt.count(num_skipped, 'example')} skipped because they are certified.")
    if sentences:
        first, *others = sentences
        others = [sentence[0].upper() + sentence[1:] for sentence in others]
        lines.append(Text(f"{title}, {' '.join([first, *others])}", _tone(attacked.diagnostics)))
    return lines


def _tone(diagnostics: AttackDiagnostics | None) -> str:
    if diagnostics is None or diagnostics.summary == "high":
        return ""
    return "bad" if diagnostics.triggered else "open"


def median_queries(row: AttackRow) -> str:
    """Return the number of queries after which half of the examples that the attack broke were broken."""
    if len(row.correct_by_queries) < 2:
        return fmt.NO_VALUE
    (_, correct_before), (_, correct_after) = row.correct_by_queries[0], row.correct_by_queries[-1]
    middle = (correct_before + correct_after) / 2
    return f"{next(queries for queries, correct in row.correct_by_queries if correct <= middle):,}"


def queries_chart(run: RunResults, attacked: AttackedModel) -> Figure | None:
    """Draw accuracy at the largest eps by the queries of each attack; None if no attack broke anything."""
    largest = max((row.eps for row in attacked.rows), default=0.0)
    rows = [row for row in attacked.rows if row.eps == largest and len(row.correct_by_queries) > 1]
    if not rows:
        return None
    total = len(attacked.examples.ids)
    lines = [
        (
            row.attack,
            [(float(max(queries, 1)), correct / total) for queries, correct in row.correct_by_queries],
        )
        for row in rows
    ]
    read_out = "; ".join(
        f"{row.attack}: {fmt.percent(row.correct_by_queries[-1][1] / total)} after "
        f"{row.correct_by_queries[-1][0]:,}"
        for row in rows
    )
    title = run.title(attacked.model)
    alt_text = f"{title}, accuracy by number of queries: {read_out}"
    return Figure(
        f"{title}, {fmt.threat_text(rows[0].threat)}, by number of queries",
        step_chart(lines, title="queries per example", alt_text=alt_text),
    )


def _accuracy_table(run: RunResults, models: Sequence[AttackedModel]) -> Table:
    """Return accuracy by attack and eps, with a column for each model."""
    row_of = {(row.threat, row.attack, attacked.model): row for attacked in models for row in attacked.rows}
    names = [attacked.model for attacked in models]
    clean = [accuracy_cell(attacked.unbroken_counts(0.0)) for attacked in models]
    rows: list[tuple[Cell, ...]] = [(Cell("unchanged"), *clean)]
    for spec, eps in _sizes(models):
        rows.append((Cell(fmt.threat_text(spec), "head"),))
        for attack in dict.fromkeys(attack for other, attack, _ in row_of if other == spec):
            found = [row_of.get((spec, attack, name)) for name in names]
            accuracies = [accuracy_cell(row.unbroken_counts) if row else Cell(fmt.NO_VALUE) for row in found]
            rows.append((Cell(attack), *accuracies))
        worst = [accuracy_cell(attacked.unbroken_counts(eps), strong=True) for attacked in models]
        rows.append((Cell("worst case", "strong"), *worst))
    return Table(
        ("attack", *(run.title(name) for name in names)), tuple(rows), caption="Accuracy under attack"
    )


def _per_class_table(run: RunResults) -> Table:
    """Return the accuracy left by all attacks together, by model and eps, with that of each class."""
    rows: list[tuple[Cell, ...]] = []
    for attacked in run.attacked_models:
        rows.append((Cell(run.title(attacked.model)),))
        for spec, eps in _sizes([attacked]):
            counts = attacked.unbroken_counts(eps)
            cells_of_eps = (accuracy_cell(counts), *class_cells(counts), majority_cell(counts))
            rows.append((Cell(fmt.threat_text(spec)), *cells_of_eps))
    head = ("change", "accuracy", "balanced", "sensitivity", "specificity", "majority class")
    return Table(head, tuple(rows), caption="Worst case over all attacks, per class")


def _cost_table(run: RunResults) -> Table:
    """Return accuracy and cost of each attack at each eps on each model."""

    def line(attacked: AttackedModel, row: AttackRow) -> tuple[Cell, ...]:
        cost = (
            median_queries(row),
            fmt.number(row.forwards),
            fmt.number(row.backwards),
            fmt.seconds(row.seconds),
        )
        return (
            *cells(run.title(attacked.model), row.attack, fmt.threat_text(row.threat)),
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
        tuple(line(attacked, row) for attacked in run.attacked_models for row in attacked.rows),
        num_text_columns=3,
        caption=caption,
    )


def _sizes(models: Sequence[AttackedModel]) -> list[tuple[str, float]]:
    """Return the threats of the models with their eps, from the smallest eps up."""
    return sorted(
        {row.threat: row.eps for attacked in models for row in attacked.rows}.items(),
        key=lambda pair: pair[1],
    )
