"""Tables as values: the sections fill them, one macro draws them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cell:
    """Text with a meaning.

    Args:
        text: What stands there; safe markup is left as it is.
        tone: ``good``, ``bad``, ``open``, ``low`` (not above the majority class), ``code`` or empty.
    """

    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a head.

    Args:
        head: Column titles.
        rows: A row of one cell is a heading inside the table.
        num_text_columns: How many leading columns hold words; the others are numbers, set to the right.
        caption: For those who do not see the page, and for the eye where there is no heading above.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    num_text_columns: int = 1
    caption: str = ""


def cells(*texts: str) -> tuple[Cell, ...]:
    """Plain cells."""
    return tuple(Cell(text) for text in texts)
