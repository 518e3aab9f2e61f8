"""The section on training: every training of the run, and the data."""

from quintain.report import format as fmt
from quintain.report.accuracy import accuracy_cell, class_cells, low_note
from quintain.report.blocks import Block, Collapsible, Section, TableBlock
from quintain.report.claim_rows import CONFIDENCE
from quintain.report.registry import blocks_of
from quintain.report.run_results import RunResults
from quintain.report.table import Cell, Table
from quintain.results.robustness_records import CheckResult


def training_section(run: RunResults) -> Section | None:
    """Show the trainings and their clean accuracy."""
    blocks: list[Block] = []
    if run.trainings:
        rows = tuple(
            (
                Cell(one.model.title),
                accuracy_cell(one.clean_counts),
                Cell(fmt.percent_interval(*one.clean_counts.interval(CONFIDENCE))),
                *class_cells(one.clean_counts),
                Cell(f"{one.model.num_parameters:,}"),
                Cell(fmt.seconds(one.seconds)),
            )
            for one in run.trainings
        )
        head = ("model", "clean", "95 %", "balanced", "sensitivity", "specificity", "weights", "time")
        blocks.append(TableBlock(Table(head, rows, caption="Accuracy on unchanged test examples")))
        blocks += low_note(rows, run.trainings[0].clean_counts)
        recipes = tuple((Cell(one.model.title), Cell(one.settings, "code")) for one in run.trainings)
        blocks.append(
            Collapsible(
                "recipes",
                (TableBlock(Table(("model", "recipe"), recipes, num_text_columns=2, caption="Recipes")),),
            )
        )
    blocks += blocks_of(run, CheckResult)
    if not blocks:
        return None
    if not run.trainings:
        return Section(
            "training", "The data", "How many examples there are of each class, in each part.", tuple(blocks)
        )
    return Section("training", "Training", "Accuracy on the unchanged test set.", tuple(blocks))
