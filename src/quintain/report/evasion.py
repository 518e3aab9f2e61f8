"""What attacks cost, which of them broke what, after how many queries, and their diagnostics."""

from collections import Counter

from quintain.report import format as fmt
from quintain.report.blocks import Figure, Text
from quintain.report.charts import step_chart
from quintain.report.run_results import RunResults
from quintain.results.literals import UNCHANGED
from quintain.results.robustness_records import AttackedModel, AttackRow, Indicator


def broken_by_text(one: AttackedModel) -> str:
    """Say how many examples each attack was the first to break: ``pgd 186, apgd 3``."""
    counts = Counter(name for name in one.break_log.found_by if name not in ("", UNCHANGED))
    return ", ".join(f"{name} {many:,}" for name, many in counts.most_common()) or "nothing"


def diagnostics_text(run: RunResults, one: AttackedModel) -> list[Text]:
    """Say for one model how far its attacks can be trusted, whether the run is whole, and what broke how many
    examples.
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
                "bad" if one.diagnostics and one.diagnostics.triggered else "",
            )
        )
    return lines


def median_queries(row: AttackRow) -> str:
    """Return after how many queries half of the breaks had happened."""
    if len(row.correct_by_queries) < 2:
        return fmt.NO_VALUE
    (_, start), (_, end) = row.correct_by_queries[0], row.correct_by_queries[-1]
    middle = (start + end) / 2
    return f"{next(asked for asked, left in row.correct_by_queries if left <= middle):,}"


def queries_chart(run: RunResults, one: AttackedModel) -> Figure | None:
    """Draw accuracy at the largest eps against the queries of each attack; None where no attack broke
    anything.
    """
    largest = max((row.eps for row in one.rows), default=0.0)
    rows = [row for row in one.rows if row.eps == largest and len(row.correct_by_queries) > 1]
    if not rows:
        return None
    total = len(one.examples.ids)
    lines = [
        (row.attack, [(float(max(asked, 1)), left / total) for asked, left in row.correct_by_queries])
        for row in rows
    ]
    said = "; ".join(
        f"{row.attack}: {fmt.percent(row.correct_by_queries[-1][1] / total)} after "
        f"{row.correct_by_queries[-1][0]:,}"
        for row in rows
    )
    spoken = f"{run.title(one.model)}, accuracy by number of queries: {said}"
    return Figure(
        f"{run.title(one.model)}, {fmt.threat_text(rows[0].threat)}",
        step_chart(lines, title="queries per example", alt_text=spoken),
    )


def indicator_text(indicator: Indicator) -> str:
    """Return an indicator's message with its value and threshold."""
    return (
        f"{indicator.message} ({fmt.number(indicator.value, 2)}; doubtful above "
        f"{fmt.number(indicator.threshold, 2)})"
    )
