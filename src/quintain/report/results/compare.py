"""How a comparison of two runs is shown: what changed in each claim, and what got worse than allowed."""

from collections.abc import Iterator

from quintain.report import format as fmt
from quintain.report.blocks import Block, Heading, TableBlock, Text
from quintain.report.presentation import Presentation
from quintain.report.run_results import RunResults
from quintain.report.table import Cell, Table, cells
from quintain.results.comparison_records import ClaimChange, CompareResult

_TONES = {"better": "good", "worse": "bad", "undecided": "open", "incomparable": "open"}


def sides_text(change: ClaimChange) -> tuple[str, str]:
    """Return the interval of a claim before and after, as text."""
    before, after = (
        fmt.interval(change.metric, *sides) if sides else fmt.NO_VALUE
        for sides in (change.before, change.after)
    )
    return before, after


def regressions_text(result: CompareResult) -> str:
    """Say how many claims got worse by more than the tolerance, if one was given."""
    counted = f"{fmt.count(len(result.changes), 'claim')} compared"
    if result.tolerance is None:
        return f"{counted}; --fail-on-regression decides whether one got worse"
    worse = len({one.name for one in result.regressions})
    if not worse:
        return f"no claim is worse by more than {result.tolerance:g}"
    are = "is" if worse == 1 else "are"
    return f"{fmt.count(worse, 'claim')} {are} worse by more than {result.tolerance:g}, or cannot be compared"


def _summary(result: CompareResult) -> Iterator[str]:
    yield f"{result.before} -> {result.after}: {regressions_text(result)}"
    yield from (f"REGRESSION  {one.name}: {one.reason}" for one in result.regressions)


def _tables(result: CompareResult) -> Iterator[Table]:
    rows = tuple(
        (
            *cells(change.name, *sides_text(change)),
            Cell(change.change, _TONES.get(change.change, "")),
            Cell(change.reason),
        )
        for change in result.changes
    )
    if rows:
        head = ("claim", "before", "after", "change", "reason")
        yield Table(head, rows, num_text_columns=5, caption=f"{result.before} -> {result.after}")


def _blocks(result: CompareResult, _run: RunResults) -> Iterator[Block]:
    yield Heading(f"{result.before} against {result.after}")
    text = regressions_text(result)
    yield Text(f"{text[:1].upper()}{text[1:]}.", "bad" if result.regressions else "")
    yield from (Text(f"{one.name}: {one.reason}.", "bad") for one in result.regressions)
    yield from (TableBlock(table) for table in _tables(result))


PRESENTATION = Presentation(CompareResult, "Comparison", summary=_summary, tables=_tables, blocks=_blocks)
