"""Checks on the page."""

from pathlib import Path

from quintain.report import render
from quintain.results.records import Record
from quintain.results.robustness_records import (
    CheckResult,
)
from tests.report.support.reading import Page
from tests.report.support.sample import record_of


def test_a_check_alone_speaks_of_data_and_of_no_claim(records: tuple[Record, ...], folder: Path) -> None:
    text = Page(render((record_of(records, CheckResult),), folder)).text
    assert "How many examples there are of each class" in text
    for word in ("Training", "bounds consistent", "no bounds cross"):
        assert word not in text
