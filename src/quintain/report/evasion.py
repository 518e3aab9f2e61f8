"""What attacks cost, which of them broke what, after how many questions, and how far to trust what they left."""

from collections import Counter

from quintain.report import format as fmt
from quintain.report.blocks import Drawing, Text
from quintain.report.charts import falling
from quintain.report.run import Run
from quintain.results.robustness_records import AttackedModel, AttackRow, Indicator

UNCHANGED = "unchanged"
"""What an example is said to be broken by that is wrong as it is."""


def breakdown(one: AttackedModel) -> str:
    """How many examples each attack was the first to break: ``pgd 186, apgd 3``."""
    counts = Counter(name for name in one.break_log.found_by if name not in ("", UNCHANGED))
    return ", ".join(f"{name} {many:,}" for name, many in counts.most_common()) or "nothing"


def verdicts(run: Run, one: AttackedModel) -> list[Text]:
    """Of one model: trust, whether the run is whole, and what broke how many."""
    lines = []
    title = run.title(one.model)
    if one.stop_reason:
        left = fmt.count(one.num_unattacked, "example")
        text = f"{title}: the run broke off ({one.stop_reason}); {left} not attacked by all count as standing."
        lines.append(Text(text, "bad"))
    said = [f"trust: {one.diagnostics.summary}."] if one.diagnostics is not None else []
    if one.break_log.found_by:
        said.append(f"First broken by: {breakdown(one)}.")
    if any(one.break_log.skipped_certified):
        said.append(f"{fmt.count(sum(one.break_log.skipped_certified), 'example')} left alone, being proved.")
    if said:
        lines.append(
            Text(f"{title}, {said[0][0].lower()}{' '.join(said)[1:]}", "bad" if one.diagnostics and one.diagnostics.triggered else "")
        )
    return lines


def typical(row: AttackRow) -> str:
    """After how many questions half of the breaks had happened."""
    if len(row.correct_by_queries) < 2:
        return fmt.NOTHING
    (_, start), (_, end) = row.correct_by_queries[0], row.correct_by_queries[-1]
    middle = (start + end) / 2
    return f"{next(asked for asked, left in row.correct_by_queries if left <= middle):,}"


def against_queries(run: Run, one: AttackedModel) -> Drawing | None:
    """Accuracy at the largest size against the questions that each attack may ask; None where no attack broke anything."""
    largest = max((row.eps for row in one.rows), default=0.0)
    rows = [row for row in one.rows if row.eps == largest and len(row.correct_by_queries) > 1]
    if not rows:
        return None
    total = len(one.examples.ids)
    lines = [(row.attack, [(float(max(asked, 1)), left / total) for asked, left in row.correct_by_queries]) for row in rows]
    said = "; ".join(
        f"{row.attack}: {fmt.percent(row.correct_by_queries[-1][1] / total)} after {row.correct_by_queries[-1][0]:,}" for row in rows
    )
    spoken = f"{run.title(one.model)}, accuracy by questions asked: {said}"
    return Drawing(f"{run.title(one.model)}, {fmt.threat(rows[0].threat)}", falling(lines, title="questions an example", spoken=spoken))


def trouble(sign: Indicator) -> str:
    """A sign's evidence with its measure."""
    return f"{sign.message} ({fmt.number(sign.value, 2)}; doubtful above {fmt.number(sign.threshold, 2)})"
