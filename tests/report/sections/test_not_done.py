"""What a run did not do has a section: parts with reason and remedy, and work that was cut for time."""

from dataclasses import replace
from pathlib import Path

from quintain.report import render
from quintain.report.run_results import RunResults
from quintain.report.sections.not_done import not_done_section
from quintain.results.records import DrillResult, NotDone, Record, SizeCut, SkippedResult
from quintain.results.robustness_records import TrainResult
from tests.report.support.reading import Page
from tests.report.support.sample import record, record_of

SKIPPED = SkippedResult("privatize", "BatchNorm mixes the records of a batch", "put GroupNorm in its place")
MISSING = NotDone("stickers", "the data are no pictures", "give pictures")
CUT = SizeCut("train", "epochs of plain training", 30, 12)


def cut_short(records: tuple[Record, ...]) -> tuple[Record, ...]:
    """A drill that skipped a step, and of another one left out a part and cut the rest."""
    train = replace(record_of(records, TrainResult), not_done=(MISSING,), cuts=(CUT,))
    whole = record_of(records, DrillResult)
    minutes = replace(whole, result=replace(whole.result, minutes=5.0))
    return (train, record(SKIPPED), minutes)


def test_a_run_that_did_everything_has_no_such_section(records: tuple[Record, ...]) -> None:
    assert not_done_section(RunResults.of(records)) is None


def test_each_part_is_named_with_its_reason_and_its_remedy(records: tuple[Record, ...], folder: Path) -> None:
    page = Page(render(cut_short(records), folder)).text
    for one in (SKIPPED.step, SKIPPED.reason, SKIPPED.remedy, MISSING.what, MISSING.reason, MISSING.remedy):
        assert one in page
    assert "2 parts not done" in page


def test_what_was_cut_is_shown_in_full_and_as_it_was_done(records: tuple[Record, ...], folder: Path) -> None:
    text = " ".join(Page(render(cut_short(records), folder)).text.split())
    assert "Cut to keep to 5 minutes" in text
    assert "train epochs of plain training 30 12" in text
    assert "cut for time" in text


def test_the_section_alone_says_whether_parts_or_work_are_missing(records: tuple[Record, ...]) -> None:
    parts = not_done_section(RunResults.of((record(SKIPPED),)))
    work = not_done_section(RunResults.of((replace(record_of(records, TrainResult), cuts=(CUT,)),)))
    assert parts is not None
    assert work is not None
    assert (len(parts.blocks), len(work.blocks)) == (1, 2)
