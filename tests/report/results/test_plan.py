"""Plans of private training on the page."""

from dataclasses import replace
from pathlib import Path

from quintain.report import render
from quintain.report.results.plan import steps_left_text
from tests.report.support.privacy import PLANNED
from tests.report.support.reading import Page
from tests.report.support.sample import record


def test_a_plan_shows_both_grids(tmp_path: Path) -> None:
    text = Page(render((record(PLANNED),), tmp_path)).text.replace("\N{NO-BREAK SPACE}", " ")
    for words in (
        "Privacy plan",
        "Nothing was trained",
        "Noise multiplier for epsilon 3.00",
        "Epsilon at noise multiplier 1.12",
        "15.2",
        "10.1",
        "69 steps",
    ):
        assert words in text
    assert (
        "276 steps fit into epsilon 3.00 at delta 1e-5: 276 of 276 steps use the whole budget"
        in steps_left_text(PLANNED)
    )
    assert "76 fewer than the 276 planned steps" in steps_left_text(replace(PLANNED, steps_within_budget=200))
