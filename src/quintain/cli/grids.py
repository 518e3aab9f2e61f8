"""Tables on a narrow terminal: lines end at spaces and after colons, and never inside a number."""

import re
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

GAP = 2
"""Columns between two cells."""

INDENT = "  "
TOKEN = re.compile(r"\s*(?:[^\s:]|\s%)+:*|\s*:+")
"""What stays on one line: up to a space or a colon; a per cent sign stays with its number."""


def wrap_text(text: str, width: int) -> list[str]:
    """Return the lines of a text, at most ``width`` wide where no token is wider than that."""
    lines = [""]
    for token in TOKEN.findall(text):
        if lines[-1] and cell_len(lines[-1] + token) > width:
            lines.append(token.lstrip())
        else:
            lines[-1] += token if lines[-1] else token.lstrip()
    return lines


def show_grid(
    console: Console,
    head: Sequence[str],
    rows: Sequence[Sequence[Text]],
    *,
    text_columns: Sequence[int],
    title: str = "",
) -> None:
    """Show a table if it fits, with the text in it wrapped where need be; else each row as a block of lines.

    Args:
        console: Where it is shown.
        head: The names of the columns; the first column names the row.
        rows: The cells.
        text_columns: Columns that are set left and may be wrapped; others are set right, each cell one line.
        title: Above the table.
    """
    columns = [[name, *(row[place].plain for row in rows)] for place, name in enumerate(head)]
    full = [max(map(cell_len, column)) for column in columns]
    least = [
        max(cell_len(token.strip()) for cell in column for token in TOKEN.findall(cell) or [""])
        if place in text_columns
        else full[place]
        for place, column in enumerate(columns)
    ]
    room = console.width - GAP * (len(head) - 1)
    if sum(least) > room:
        _show_blocks(console, head, rows, title)
        return
    widths = list(least)
    for place in range(len(head)):
        widths[place] = min(full[place], least[place] + room - sum(widths))
    table = Table(box=None, pad_edge=False, header_style="dim", title=title or None, title_justify="left")
    for place, name in enumerate(head):
        table.add_column(
            "\n".join(wrap_text(name, widths[place])), justify="left" if place in text_columns else "right"
        )
    for row in rows:
        table.add_row(
            *(
                Text("\n".join(wrap_text(cell.plain, width)), style=cell.style)
                for cell, width in zip(row, widths, strict=True)
            )
        )
    console.print(table)


def _show_blocks(console: Console, head: Sequence[str], rows: Sequence[Sequence[Text]], title: str) -> None:
    """Show each row as its name and a line for each of its cells that is not empty."""
    lines = [Text(line, style="italic") for line in wrap_text(title, console.width)] if title else []
    for name, *cells in rows:
        lines += [Text(line, style=name.style) for line in wrap_text(name.plain, console.width)]
        for label, cell in zip(head[1:], cells, strict=True):
            text = wrap_text(f"{label}: {cell.plain}", console.width - len(INDENT)) if cell.plain else []
            lines += [Text(f"{INDENT}{line}", style=cell.style) for line in text]
    for line in lines:
        console.print(line, soft_wrap=True)
