"""Stored adversarial examples on another model: how many transfer, and which breaks still hold."""

from collections.abc import Iterator

from quintain.report import format as fmt
from quintain.report.blocks import Block, Heading, TableBlock, Text
from quintain.report.presentation import Presentation
from quintain.report.run_results import RunResults
from quintain.report.table import Cell, Table, cells
from quintain.results.literals import REPLAY_OF
from quintain.results.robustness_records import ReplayResult


def _summary(result: ReplayResult) -> Iterator[str]:
    left = ", ".join(
        f"{row.threat} {row.attack.removeprefix(REPLAY_OF)} {fmt.percent(row.unbroken_counts.accuracy)}"
        for row in result.attacked.rows
    )
    yield f"accuracy left by stored adversarial examples, {result.attacked.title}: {left}"
    yield _transfer(result)


def _transfer(result: ReplayResult) -> str:
    """Say how many of the examples that were broken on the first model are broken on the other as well."""
    met = len(result.broken_ids) + len(result.unbroken_ids)
    if not met:
        return f"no stored example of {result.source_title} is of one that {result.attacked.title} gets right"
    fraction = fmt.percent(len(result.broken_ids) / met)
    return (
        f"of {fmt.count(met, 'example')} that were broken on {result.source_title} and that this model "
        f"classifies correctly unchanged, {len(result.broken_ids):,} are broken here too ({fraction})"
    )


def _tables(result: ReplayResult) -> Iterator[Table]:
    rows = tuple(
        (
            *cells(row.attack, fmt.threat_text(row.threat)),
            *cells(f"{row.num_stored:,}", f"{row.num_correct:,}", f"{row.num_broken:,}"),
            Cell(fmt.percent(row.num_broken / row.num_correct) if row.num_correct else fmt.NO_VALUE),
        )
        for row in result.rows
    )
    if rows:
        head = ("attack", "change", "stored", "of correct examples", "break it", "transfer")
        caption = f"Adversarial examples of {result.source_title} on {result.attacked.title}"
        yield Table(head, rows, num_text_columns=2, caption=caption)


def _blocks(result: ReplayResult, _run: RunResults) -> Iterator[Block]:
    yield Heading(f"Adversarial examples that were made on {result.source_title}")
    text = _transfer(result)
    yield Text(
        f"{text[:1].upper()}{text[1:]}. Nothing was attacked anew, so that an attack on this very model may "
        f"leave less. They come from {result.source}."
    )
    yield from (TableBlock(table) for table in _tables(result))


PRESENTATION = Presentation(ReplayResult, "Replay", summary=_summary, tables=_tables, blocks=_blocks)
