"""The section on what a run did not do: parts that were not possible, and work that was cut for time."""

from quintain.report import format as fmt
from quintain.report.blocks import Block, Heading, Section, TableBlock
from quintain.report.run_results import RunResults
from quintain.report.table import Table, cells
from quintain.results.records import DrillResult


def not_done_section(run: RunResults) -> Section | None:
    """Show each part that was not done with its reason and remedy, and what was cut; None for nothing."""
    missing, cuts = run.not_done, run.cuts
    blocks: list[Block] = []
    if missing:
        rows = tuple(cells(one.what, one.reason, one.remedy) for one in missing)
        parts = Table(("not done", "reason", "remedy"), rows, num_text_columns=3, caption="What was not done")
        blocks.append(TableBlock(parts))
    if cuts:
        work = tuple(cells(one.step, one.what, f"{one.full:,}", f"{one.chosen:,}") for one in cuts)
        minutes = max((result.minutes for result in run.results_of(DrillResult)), default=0.0)
        limit = f"{fmt.number(minutes)} minute{'s' * (minutes != 1)}"
        blocks.append(Heading(f"Cut to keep to {limit}" if minutes else "Cut for time"))
        amounts = Table(("step", "work", "full", "done"), work, num_text_columns=2, caption="Cut for time")
        blocks.append(TableBlock(amounts))
    lead = "What this run says nothing about, or less than it could."
    return Section("not-done", "Not done", lead, tuple(blocks)) if blocks else None
