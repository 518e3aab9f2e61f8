"""Tables on narrow terminals: lines end at spaces and after colons, never inside a number."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from quintain.cli.grids import show_grid, wrap_text
from quintain.cli.screen import show_changes, show_record
from quintain.report import compare
from quintain.results.robustness_records import AttackResult
from tests.report.support.claims import accuracy
from tests.report.support.sample import record

WIDTHS = [120, 80, 50]
HEAD = ("claim", "lower bound", "95 % interval", "upper bound", "majority")
ROWS = [
    ("adversarial:linf:0.05", "certified 100.0 %", "96.3 .. 100.0 %", "attacked 100.0 %", "62.5 %"),
    ("plain:mask:eyeglasses:0.5", "certified 0.0 %", "0.0 .. 18.1 %", "attacked 1,234.5 %", "50.0 %"),
]
NUMBER = re.compile(r"\d[\d,.]*(?:/\d+)?(?: %)?")


EMPTY = AttackResult(())


def claim(name, lower, upper):
    return accuracy(name, "a model", lower, upper)


def shown(width, show):
    console = Console(file=io.StringIO(), width=width, highlight=False, emoji=False)
    show(console)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def numbers(lines):
    """The numbers that stand whole on a line, with the per cent sign behind them."""
    return sorted(number for line in lines for number in NUMBER.findall(line))


def grid(console):
    show_grid(console, HEAD, [tuple(map(Text, row)) for row in ROWS], text_columns=(0,))


@pytest.mark.parametrize("width", WIDTHS)
def test_no_number_of_a_table_is_cut(width):
    lines = shown(width, grid)
    assert max(map(len, lines)) <= width
    found = numbers(lines)
    for row in ROWS:
        for number in numbers(row):
            assert number in found
    for row in ROWS:
        for cell in row[1:]:
            assert any(cell in line for line in lines)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_number_of_the_claims_of_a_record_is_cut(width):
    made = record(
        EMPTY, (claim("adversarial:linf:0.05", 312, 624), claim("a-long-name:linf:16/255", 624, 624))
    )
    lines = shown(width, lambda console: show_record(console, made))
    wide = numbers(shown(400, lambda console: show_record(console, made)))
    assert set(wide) <= set(numbers(lines))


@pytest.mark.parametrize("width", WIDTHS)
def test_no_number_of_a_comparison_is_cut(width):
    before = (record(EMPTY, (claim("adversarial:linf:0.05", 300, 400),)),)
    after = (record(EMPTY, (claim("adversarial:linf:0.05", 100, 200),)),)
    changes = compare(before, after)
    lines = shown(width, lambda console: show_changes(console, changes))
    whole = shown(400, lambda console: show_changes(console, changes))
    assert set(numbers(whole)) <= set(numbers(lines))
    assert max(map(len, lines)) <= width


@given(st.text("a1 :.%", max_size=60), st.integers(5, 40))
def test_wrapping_keeps_every_character_but_spaces(text, width):
    lines = wrap_text(text, width)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    for line in lines:
        assert len(line.rstrip()) <= width or not re.search(r"[a1.%] [a1.]", line.strip())
