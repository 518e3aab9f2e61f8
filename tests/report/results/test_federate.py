"""Federated training on the page."""

import re
from dataclasses import replace
from pathlib import Path

from quintain.report import render
from quintain.results.privacy_records import (
    FederateResult,
)
from quintain.results.records import Record
from tests.report.support.reading import Page
from tests.report.support.sample import record, record_of


def test_a_round_without_a_sum_is_shown_and_is_no_wrong_sum(
    records: tuple[Record, ...], folder: Path
) -> None:
    federated = record_of(records, FederateResult).result
    assert isinstance(federated, FederateResult)
    first, second, *_ = federated.rounds
    abandoned = replace(second, survivors=(), dropped=(*second.survivors, *second.dropped), sum_exact=False)
    text = Page(render((record(replace(federated, rounds=(first, abandoned))),), folder)).text
    assert (
        "The secure sum equals the plain one exactly in 1 of 1 round. 1 round came to no sum and left the "
        "model as it was." in text
    )
    assert "no sum" in text
    assert not re.search(r"\bNO\b", text)
    wrong = Page(
        render((record(replace(federated, rounds=(replace(first, sum_exact=False),))),), folder)
    ).text
    assert "exactly in 0 of 1 round." in wrong
    assert re.search(r"\bNO\b", wrong)
