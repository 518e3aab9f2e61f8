"""The section on certificates: both bounds of every certified model, and the gap between them."""

from dataclasses import replace

import pytest

from quintain.report import format as fmt
from quintain.report.blocks import TableBlock
from quintain.report.run_results import RunResults
from quintain.report.sections.certificates import certificate_section
from quintain.report.table import Cell, Table
from quintain.results.records import Record
from quintain.results.robustness_records import CertifiedModel, CertifyResult
from tests.report.support.sample import record, record_of


def table_of(*models: CertifiedModel) -> Table:
    section = certificate_section(RunResults.of((record(CertifyResult(models)),)))
    assert section is not None
    (table,) = (block.table for block in section.blocks if isinstance(block, TableBlock))
    return table


@pytest.fixture
def certified(records: tuple[Record, ...]) -> CertifiedModel:
    return record_of(records, CertifyResult).result.models[0]


def test_a_model_has_a_heading_and_a_row_a_size(certified: CertifiedModel) -> None:
    heading, *rows = table_of(certified).rows
    assert heading == (Cell("plain, certified by interval bounds in 0.7 s"),)
    assert [row[0].text for row in rows] == ["Linf 2/255", "Linf 4/255", "Linf 8/255"]
    for row, size in zip(rows, certified.requested_eps, strict=True):
        unbroken = certified.examples.unbroken_counts(size, 2).accuracy
        assert row[2].text == "0.0 %"
        assert row[3].text == fmt.percent(unbroken)
        assert row[4].text == f"{100 * unbroken:.1f} points"


def test_examples_that_are_certified_and_broken_stand_in_place_of_the_gap(certified: CertifiedModel) -> None:
    examples = certified.examples
    row = next(row for row, radius in enumerate(examples.broken_radius) if 0 < radius < 2 / 255)
    radius = tuple(1.0 if place == row else 0.0 for place in range(len(examples.ids)))
    wrong = replace(certified, examples=replace(examples, certified_radius=radius))
    assert table_of(wrong).rows[1][4] == Cell("1 contradictory", "bad")


def test_a_model_that_nothing_was_proved_of_says_so(certified: CertifiedModel) -> None:
    bare = replace(certified, certifier="", requested_eps=())
    assert table_of(bare).rows == ((Cell("plain, not certified"),),)


def test_a_run_without_certificates_has_no_such_section(records: tuple[Record, ...]) -> None:
    assert certificate_section(RunResults.of(records[:1])) is None
