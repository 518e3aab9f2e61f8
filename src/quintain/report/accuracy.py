"""Accuracies in words and as cells of a table, with a mark where the majority class does as well."""

from collections.abc import Sequence

from quintain.report import format as fmt
from quintain.report.blocks import Text
from quintain.report.table import Cell
from quintain.results.class_counts import ClassCounts


def accuracy_text(counts: ClassCounts) -> str:
    """Return an accuracy with its interval, and the balanced accuracy."""
    low, high = (100 * limit for limit in counts.interval())
    return (
        f"accuracy {fmt.percent(counts.accuracy)} (95 %: {low:.1f} .. {high:.1f}), balanced "
        f"{balanced_text(counts)}"
    )


def balanced_text(counts: ClassCounts) -> str:
    """Return the balanced accuracy, and over how many of the classes it is where some have no example."""
    filled, classes = counts.num_filled_classes, len(counts.total)
    over = f" over {filled:,} of {classes:,} classes" if filled < classes else ""
    return f"{fmt.percent(counts.balanced_accuracy)}{over}"


def accuracy_cell(counts: ClassCounts, *, strong: bool = False) -> Cell:
    """Return an accuracy, marked where it is not above the majority class."""
    low = counts.accuracy <= counts.majority_accuracy
    return Cell(fmt.percent(counts.accuracy), "low" if low else "strong" if strong else "")


def class_cells(counts: ClassCounts) -> tuple[Cell, Cell, Cell]:
    """Return balanced accuracy, sensitivity and specificity."""
    return (
        Cell(balanced_text(counts)),
        Cell(fmt.percent(counts.sensitivity)),
        Cell(fmt.percent(counts.specificity)),
    )


def majority_cell(counts: ClassCounts) -> Cell:
    """Return the accuracy of always predicting the most frequent class."""
    return Cell(fmt.percent(counts.majority_accuracy), "soft")


def low_note(rows: Sequence[Sequence[Cell]], counts: ClassCounts) -> tuple[Text, ...]:
    """Explain the mark of a low accuracy, where the table has one."""
    if not any(cell.tone == "low" for row in rows for cell in row):
        return ()
    fraction = fmt.percent(counts.majority_accuracy)
    return (
        Text(
            "▾ not above the majority class: always predicting the most frequent class is correct for "
            f"{fraction} of the examples.",
            "soft",
        ),
    )
