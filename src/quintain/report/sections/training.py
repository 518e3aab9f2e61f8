"""The section of the report on the data and on every training of the run."""

from quintain.report import format as fmt
from quintain.report.accuracy import accuracy_cell, class_cells, low_note
from quintain.report.blocks import Block, Collapsible, Section, TableBlock
from quintain.report.claim_rows import CONFIDENCE
from quintain.report.registry import blocks_of
from quintain.report.run_results import RunResults
from quintain.report.table import Cell, Table
from quintain.results.robustness_records import CheckResult, HardenResult


def training_section(run: RunResults) -> Section | None:
    """Return the section with the data and each training's clean accuracy; None if there are neither."""
    blocks: list[Block] = []
    if run.trainings:
        rows = tuple(
            (
                Cell(training.model.title),
                accuracy_cell(training.clean_counts),
                Cell(fmt.percent_interval(*training.clean_counts.interval(CONFIDENCE))),
                *class_cells(training.clean_counts),
                Cell(f"{training.model.num_parameters:,}"),
                Cell(fmt.training_time(training.seconds)),
            )
            for training in run.trainings
        )
        head = ("model", "clean", "95 %", "balanced", "sensitivity", "specificity", "weights", "time")
        blocks.append(TableBlock(Table(head, rows, caption="Accuracy on unchanged test examples")))
        blocks += low_note(rows, run.trainings[0].clean_counts)
        recipes = tuple(
            (Cell(training.model.title), Cell(training.settings, "code")) for training in run.trainings
        )
        blocks.append(
            Collapsible(
                "recipes",
                (TableBlock(Table(("model", "recipe"), recipes, num_text_columns=2, caption="Recipes")),),
            )
        )
    blocks += blocks_of(run, HardenResult)
    blocks += blocks_of(run, CheckResult)
    if not blocks:
        return None
    if not run.trainings:
        lead = "How many examples there are of each class, in each split."
        return Section("training", "The data", lead, tuple(blocks))
    return Section("training", "Training", "Accuracy on the unchanged test set.", tuple(blocks))
