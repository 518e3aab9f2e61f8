"""Stored pictures: only what the record promised is shown."""

import hashlib
from dataclasses import replace
from pathlib import Path

from quintain.report import render
from quintain.results.records import Record
from tests.report.support.reading import Page
from tests.report.support.sample import record
from tests.report.support.updates import leaked


def test_a_missing_changed_or_foreign_picture_is_named(records: tuple[Record, ...], tmp_path: Path) -> None:
    body = leaked(tmp_path)
    (tmp_path / body.original.path).unlink()
    first, second, third = (attempt.picture for attempt in body.reconstructions)
    (tmp_path / first.path).write_bytes((tmp_path / second.path).read_bytes())
    (tmp_path / third.path).write_bytes(b"<svg/>")
    outside = tmp_path.parent / "outside.png"
    outside.write_bytes((tmp_path / second.path).read_bytes())
    attempts = (
        body.reconstructions[0],
        replace(body.reconstructions[1], picture=replace(second, path="../outside.png")),
        replace(
            body.reconstructions[2], picture=replace(third, sha256=hashlib.sha256(b"<svg/>").hexdigest())
        ),
    )
    page = Page(render((record(replace(body, reconstructions=attempts)),), tmp_path))
    for problem in ("picture missing", "picture changed", "outside the run folder", "not a PNG"):
        assert problem in page.text
    assert len(page.all("img")) == 2
    assert "from a plain update, 33.1 dB" in page.text
