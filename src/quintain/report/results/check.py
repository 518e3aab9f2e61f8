"""Checks of the data and the model: what they found, and the examples of each class."""

from collections.abc import Iterator

from quintain.report import format as fmt
from quintain.report.blocks import Collapsible, TableBlock
from quintain.report.presentation import Presentation
from quintain.report.run_results import RunResults
from quintain.report.table import Cell, Table, cells
from quintain.results.robustness_records import CheckResult, Finding

_TONES = {"error": "bad", "warning": "open", "note": "", "ok": "good"}
"""Of each level, the worst first."""


def finding_rows(result: CheckResult) -> Iterator[tuple[Cell, ...]]:
    """Yield what the checks found, the worst first; those that found nothing are counted."""
    yield (Cell("data and model"),)
    problems = [finding for finding in result.findings if finding.level != "ok"]
    for finding in sorted(problems, key=lambda finding: list(_TONES).index(finding.level)):
        yield finding_row(finding)
    fine = len(result.findings) - len(problems)
    yield (
        Cell("all other checks" if problems else "all checks"),
        Cell("ok", _TONES["ok"]),
        Cell(f"{fmt.count(fine, 'check')} found nothing"),
    )


def finding_row(finding: Finding) -> tuple[Cell, ...]:
    """Return one finding as a row: check, level, details."""
    return Cell(finding.name), Cell(finding.level, _TONES[finding.level]), Cell(finding.message)


def _summary(result: CheckResult) -> Iterator[str]:
    levels = [finding.level for finding in result.findings]
    yield (
        f"{fmt.count(len(levels), 'check')}: {fmt.count(levels.count('warning'), 'warning')}, "
        f"{fmt.count(levels.count('error'), 'error')}"
    )
    for finding in result.findings:
        if finding.level in ("warning", "error"):
            yield f"{finding.level}: {finding.message}"


def _blocks(result: CheckResult, _: RunResults) -> Iterator[Collapsible]:
    yield Collapsible("examples of each class", (TableBlock(_class_table(result)),))


def _class_table(result: CheckResult) -> Table:
    """Return one row a class, since there may be many and their names long."""
    rows = tuple(
        cells(
            name,
            *(
                f"{counts[place]:,}" if place < len(counts) else fmt.NO_VALUE
                for _, counts in result.class_counts
            ),
        )
        for place, name in enumerate(result.class_names)
    )
    head = ("class", *(split for split, _ in result.class_counts))
    return Table(head, rows, caption="Examples of each class")


PRESENTATION = Presentation(
    CheckResult, "Check", summary=_summary, findings=lambda result: result.findings, blocks=_blocks
)
