"""Show results on the terminal: records, claims, requirements, and what is registered."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from quintain.cli.grids import show_grid
from quintain.report import all_rows, count_verdicts, key_rows, presentation_of, summary_lines
from quintain.report import format as fmt
from quintain.report.results.compare import sides_text
from quintain.report.run_results import RunResults
from quintain.results.comparison_records import ClaimChange, Regression
from quintain.results.gate import NOTHING_DONE, did_nothing
from quintain.results.records import DrillResult, Record, RequirementResult, SizeCut
from quintain.results.robustness_records import CertifyResult, TrainResult

if TYPE_CHECKING:
    from quintain.core.registry import Entry
    from quintain.report import ClaimRow
    from quintain.report.table import Table as ReportTable

TONE_COLORS = {"good": "green", "bad": "red", "open": "yellow", "": "default"}
LEVEL_COLORS = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "red"}
CHANGE_COLORS = {"better": "green", "worse": "red", "undecided": "yellow", "incomparable": "yellow"}


def show_step(console: Console, step: str, record: Record) -> None:
    """Show a finished step of a drill."""
    console.print(f"[bold]{step:<10}[/] {record.provenance.seconds:6.1f} s")
    for line in summary_lines(record):
        console.print(f"  {escape(line)}", soft_wrap=True)
    # notes of a training are about the examples, which all steps share; those of certificates on what is left
    if isinstance(record.result, TrainResult | CertifyResult):
        for note in record.notes:
            console.print(f"  [dim]note: {escape(note)}[/]", soft_wrap=True)


def show_cuts(console: Console, step: str, seconds: float, cuts: "Sequence[SizeCut]") -> None:
    """Show, before a step of a drill, what was cut of it for time and how long it may take; else nothing."""
    if cuts:
        about = f", about {fmt.seconds(seconds)}" if seconds else ""
        text = "; ".join(map(str, cuts))
        console.print(f"[dim]{step}: cut for time: {escape(text)}{about}[/]", soft_wrap=True)


def show_record(console: Console, record: Record) -> None:
    """Show the record of one command."""
    presentation = presentation_of(record.result)
    findings = tuple(presentation.findings(record.result))
    for finding in findings:
        console.print(
            f"[{LEVEL_COLORS[finding.level]}]{finding.level:<8}[/] {escape(finding.name)}: "
            f"{escape(finding.message)}",
            soft_wrap=True,
        )
    if not findings:
        for line in summary_lines(record):
            console.print(escape(line), soft_wrap=True)
    for table in presentation.tables(record.result):
        _show_table(console, table)
    if record.claims:
        _show_claims(console, all_rows([record]))
    for note in record.notes:
        console.print(f"[dim]note: {escape(note)}[/]", soft_wrap=True)
    show_requirements(console, record.requirements)


def show_weights(console: Console, record: Record, folder: Path) -> None:
    """Show the path of the weights of each model that a command trained."""
    for model in RunResults.of([record]).models:
        if model.path:
            console.print(
                f"weights of the {model.title}, for --weights: {folder / model.path}",
                style="dim",
                markup=False,
                soft_wrap=True,
            )


def show_drill(console: Console, records: "Sequence[Record]") -> None:
    """Show the final screen of a drill: key claims, consistency, requirements, summary, cuts for time.

    Args:
        console: Where it is shown.
        records: The records of every step, and of the drill itself.
    """
    _show_claims(console, key_rows(records))
    count = count_verdicts(records)
    if did_nothing(record.result for record in records):
        consistency = f"[bold yellow]{NOTHING_DONE}[/]"
    elif count.contradictions:
        consistency = f"[bold red]{count.contradictions} CONTRADICTIONS[/]"
    else:
        consistency = "bounds consistent"
    suspects = f"; {count.suspects} suspect" if count.suspects else ""
    failures = f"; [bold red]{count.failures} MECHANISM MISMATCHES[/]" if count.failures else ""
    console.print(f"{consistency}{suspects}{failures}")
    for record in records:
        if isinstance(record.result, DrillResult):
            show_requirements(console, record.result.requirements)
            for line in summary_lines(record):
                console.print(escape(line), style="dim", soft_wrap=True)
    cuts = [f"{cut.step}: {cut}" for record in records for cut in record.cuts]
    if cuts:
        console.print(f"cut for time: {escape('; '.join(cuts))}", style="dim", soft_wrap=True)


def show_changes(console: Console, changes: Sequence[ClaimChange]) -> None:
    """Show each claim of two runs side by side: bounds before and after, the change and its reason."""
    rows = [
        (
            *map(Text, (change.name, *sides_text(change))),
            Text(change.change, style=CHANGE_COLORS.get(change.change, "default")),
            Text(change.reason),
        )
        for change in changes
    ]
    show_grid(console, ("claim", "before", "after", "change", "reason"), rows, text_columns=(0, 4))


def show_names(console: Console, kinds: Mapping[str, "Sequence[Entry]"]) -> None:
    """Show the names of what is registered, one row for each kind."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(overflow="fold", no_wrap=True)
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for kind, entries in kinds.items():
        table.add_row(
            f"[bold]{escape(kind)}[/]", str(len(entries)), escape(", ".join(one.name for one in entries))
        )
    console.print(table)


def show_regressions(console: Console, regressions: Sequence[Regression], tolerance: float) -> None:
    """Show each claim that got worse by more than a tolerance, or that there is none."""
    for one in regressions:
        console.print(f"[bold red]REGRESSION[/]  {escape(one.name)}: {escape(one.reason)}", soft_wrap=True)
    if not regressions:
        console.print(f"no claim is worse by more than {tolerance:g}", soft_wrap=True)


def show_entries(console: Console, entries: "Sequence[Entry]") -> None:
    """Show entries with their summaries, one line each; on a terminal a line too long for it ends in dots."""
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        console.print(
            f"[bold]{escape(f'{entry.name:<{width}}')}[/]  {escape(entry.summary)}",
            no_wrap=True,
            overflow="ellipsis" if console.is_terminal else "ignore",
            soft_wrap=not console.is_terminal,
        )


def show_entries_in_full(console: Console, entries: "Sequence[Entry]") -> None:
    """Show the kind, name, summary, guarantee and old names of entries."""
    for entry in entries:
        console.print(f"[dim]{escape(entry.kind)}[/] [bold]{escape(entry.name)}[/]", soft_wrap=True)
        lines = {
            "": entry.summary,
            "guarantee: ": entry.guarantee,
            "formerly: ": ", ".join(entry.old_names),
        }
        for head, text in lines.items():
            if text:
                console.print(Padding(f"{head}{escape(text)}", (0, 0, 0, 4)))


def show_exemptions(console: Console, entries: "Sequence[Entry]") -> None:
    """Show which entries are exempt from which law, and why."""
    found = [(entry, law, reason) for entry in entries for law, reason in entry.exemptions]
    for entry, law, reason in found:
        console.print(
            f'{entry.kind} {escape(entry.name)}: not held to "{escape(law)}", because {escape(reason)}',
            soft_wrap=True,
        )
    if not found:
        console.print("no exemptions: every law holds for everything registered")


def _show_table(console: Console, table: "ReportTable") -> None:
    """Show a table of the report."""
    show_grid(
        console,
        table.head,
        [[Text(cell.text) for cell in row] for row in table.rows],
        text_columns=range(table.num_text_columns),
        title=table.caption,
    )


def show_requirements(console: Console, results: "Sequence[RequirementResult]") -> None:
    """Show each requirement with its decision and the reason."""
    for one in results:
        console.print(
            f"[bold]{one.verdict.decision}[/]  {escape(one.requirement)}: {escape(one.verdict.reason)}",
            soft_wrap=True,
        )


def _show_claims(console: Console, claims: "Sequence[ClaimRow]") -> None:
    """Show the table of claims, narrow enough for 80 columns, and below it which claims have a bad label."""
    if not claims:
        return
    columns = {
        "claim": [row.name for row in claims],
        "lower bound": [row.lower for row in claims],
        "95 % interval": [row.interval for row in claims],
        "upper bound": [row.upper for row in claims],
        "majority": [row.baseline for row in claims],
    }
    filled = {head: texts for head, texts in columns.items() if any(texts)}
    cells = [
        (Text(name, style=TONE_COLORS[row.tone]), *map(Text, rest))
        for row, (name, *rest) in zip(claims, zip(*filled.values(), strict=True), strict=True)
    ]
    show_grid(console, tuple(filled), cells, text_columns=(0,))
    for label in dict.fromkeys(row.label for row in claims if row.tone == "bad"):
        names = ", ".join(row.name for row in claims if row.label == label)
        console.print(f"[red]{escape(label)}[/]: {escape(names)}", soft_wrap=True)
