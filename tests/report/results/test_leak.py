"""Leakage on the page."""

from dataclasses import replace
from pathlib import Path

from quintain.report import render
from quintain.results.privacy_records import (
    LeakResult,
    Reconstruction,
)
from quintain.results.records import Record
from tests.report.support.reading import Page
from tests.report.support.sample import record_of


def test_a_reconstruction_that_fails_is_no_proof(records: tuple[Record, ...], folder: Path) -> None:
    one = record_of(records, LeakResult)
    assert isinstance(one.result, LeakResult)
    blind = replace(
        one,
        result=replace(
            one.result,
            reconstructions=tuple(replace(each, leaks=False) for each in one.result.reconstructions),
        ),
    )
    assert "does not prove that there is none" in Page(render((blind,), folder)).text


def test_private_pictures_are_numbers_alone(records: tuple[Record, ...], folder: Path) -> None:
    one = record_of(records, LeakResult)
    assert isinstance(one.result, LeakResult)
    assert one.result.nearest_image is not None

    def hidden(each: Reconstruction) -> Reconstruction:
        return replace(each, picture=None)

    body = replace(
        one.result,
        original=None,
        reconstructions=tuple(map(hidden, one.result.reconstructions)),
        mean_image=hidden(one.result.mean_image),
        nearest_image=hidden(one.result.nearest_image),
    )
    html = render((replace(one, result=body),), folder)
    assert "data:image/png" not in html
    text = Page(html).text
    assert "14.2 dB" in text
    assert "22.0 dB" in text
