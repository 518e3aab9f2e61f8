"""What attacks cost, which of them broke what, after how many questions, and how far to trust what they left."""

from collections import Counter

from quintain.report import format as fmt
from quintain.report.blocks import Drawing, Text
from quintain.report.charts import falling
from quintain.report.run import Run
from quintain.results.robustness_records import AttackRow, Attacks, Sign

UNCHANGED = "unchanged"
"""What an example is said to be broken by that is wrong as it is."""


def eps_of(row: AttackRow) -> float:
    """The size that a row is about; older records name it in the token alone."""
    return row.eps or fmt.size_of(row.threat)


def breakdown(one: Attacks) -> str:
    """How many examples each attack was the first to break: ``pgd 186, apgd 3``."""
    counts = Counter(name for name in one.breaks.by if name not in ("", UNCHANGED))
    return ", ".join(f"{name} {many:,}" for name, many in counts.most_common()) or "nothing"


def verdicts(run: Run, one: Attacks) -> list[Text]:
    """Of one model: trust, whether the run is whole, and what broke how many."""
    lines = []
    title = run.title(one.model)
    if one.halted:
        text = f"{title}: the run broke off ({one.halted}); {fmt.count(one.unfinished, 'example')} not attacked by all count as standing."
        lines.append(Text(text, "bad"))
    said = [f"trust: {one.trust.verdict}."] if one.trust is not None else []
    if one.breaks.by:
        said.append(f"First broken by: {breakdown(one)}.")
    if any(one.breaks.proved):
        said.append(f"{fmt.count(sum(one.breaks.proved), 'example')} left alone, being proved.")
    if said:
        lines.append(Text(f"{title}, {said[0][0].lower()}{' '.join(said)[1:]}", "bad" if one.trust and one.trust.doubts else ""))
    return lines


def typical(row: AttackRow) -> str:
    """After how many questions half of the breaks had happened."""
    if len(row.queries) < 2:
        return fmt.NOTHING
    (_, start), (_, end) = row.queries[0], row.queries[-1]
    middle = (start + end) / 2
    return f"{next(asked for asked, left in row.queries if left <= middle):,}"


def against_queries(run: Run, one: Attacks) -> Drawing | None:
    """Accuracy at the largest size against the questions that each attack may ask; None where no attack broke anything."""
    largest = max((eps_of(row) for row in one.rows), default=0.0)
    rows = [row for row in one.rows if eps_of(row) == largest and len(row.queries) > 1]
    if not rows:
        return None
    total = len(one.examples.ids)
    lines = [(row.attack, [(float(max(asked, 1)), left / total) for asked, left in row.queries]) for row in rows]
    said = "; ".join(f"{row.attack}: {fmt.percent(row.queries[-1][1] / total)} after {row.queries[-1][0]:,}" for row in rows)
    spoken = f"{run.title(one.model)}, accuracy by questions asked: {said}"
    return Drawing(f"{run.title(one.model)}, {fmt.threat(rows[0].threat)}", falling(lines, title="questions an example", spoken=spoken))


def trouble(sign: Sign) -> str:
    """A sign's evidence with its measure."""
    return f"{sign.evidence} ({fmt.number(sign.value, 2)}; doubtful above {fmt.number(sign.threshold, 2)})"
