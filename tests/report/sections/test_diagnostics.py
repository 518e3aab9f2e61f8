"""Diagnostics on the page."""

from quintain.report.sections.diagnostics import indicator_text
from quintain.results.records import Record
from quintain.results.robustness_records import (
    AttackDiagnostics,
)
from tests.report.support.robustness import first_attacked


def test_an_indicator_has_its_value_and_threshold(records: tuple[Record, ...]) -> None:
    _, attacks = first_attacked(records)
    assert isinstance(attacks.diagnostics, AttackDiagnostics)
    assert (
        indicator_text(attacks.diagnostics.indicators[0])
        == "the gradient is zero on 0 % of the examples (0; doubtful above 0.05)"
    )
