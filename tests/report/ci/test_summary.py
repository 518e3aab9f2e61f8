"""The job summary is Markdown that GitHub shows as it is meant, and never longer than it takes."""

from dataclasses import replace
from pathlib import Path

from quintain.report.ci.summary import MAX_BYTES, summary
from quintain.results.verdict import RunVerdict
from tests.report.ci.runs import FAILS, PASSES, UNDECIDED, attacked, every, failed


def test_it_says_the_verdict_the_requirements_worst_first_and_the_claims() -> None:
    text = summary(attacked(PASSES, UNDECIDED, FAILS))
    assert text.startswith("## quintain attack: FAILED\n\n1 of 3 requirements failed (exit code 1).\n")
    places = [text.index(f"`{one}`") for one in (FAILS, UNDECIDED, PASSES)]
    assert places == sorted(places)
    assert "certified 72.9 %" in text
    assert "`quintain drill --seed 7 --out runs/2026-11-24`, run folder `runs/2026-11-24-attack`" in text


def test_an_undecided_requirement_that_is_tolerated_says_so() -> None:
    assert "UNDECIDED (warning)" in summary(attacked(UNDECIDED, undecided="warn"))
    assert "(warning)" not in summary(attacked(UNDECIDED))


def test_every_line_of_a_table_has_as_many_cells(tmp_path: Path) -> None:
    for run in every(tmp_path).values():
        for block in summary(run).split("\n\n"):
            lines = [line for line in block.splitlines() if line.startswith("|")]
            cells = {line.replace("\\|", "").count("|") for line in lines}
            assert len(cells) <= 1, lines


def test_foreign_text_is_no_markup() -> None:
    reason = "<img src=x> | [a](b) *b* `c`\n# head\n@someone \x1b[31mred\x1b[0m"
    text = summary(failed(PASSES, reason=reason))
    assert "&lt;img src=x> \\| \\[a\\](b) \\*b\\* \\`c\\` \\# head \\@someone red" in text
    assert "\x1b" not in text
    quoted = summary(replace(attacked(), command="quintain `id` | x\n# y"))
    assert "`quintain 'id' \\| x # y`" in quoted


def test_what_has_no_room_is_cut_and_says_so() -> None:
    verdict = RunVerdict("EXECUTION", 5, "é" * MAX_BYTES)
    whole = replace(attacked(PASSES), verdict=verdict)
    cut = summary(whole)
    assert len(cut.encode()) <= MAX_BYTES
    assert "Cut here" in cut
    beside = summary(attacked(PASSES), used_bytes=MAX_BYTES - 200)
    assert len(beside.encode()) <= 200
    assert "Cut here" in beside
    assert summary(attacked(PASSES), used_bytes=MAX_BYTES + 5) == ""
