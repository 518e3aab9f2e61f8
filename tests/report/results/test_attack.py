"""Attacks on the screen, and stickers."""

import math
from dataclasses import replace

from quintain.report import summary_lines
from quintain.report.results.attack import broken_by_text, sticker_blocks
from quintain.report.run_results import RunResults
from quintain.results.per_example import PerExample
from quintain.results.records import Record
from quintain.results.robustness_records import (
    AttackedModel,
    BreakLog,
    StickerResult,
)
from tests.report.support.robustness import first_attacked


def test_the_breakdown_counts_what_fell_and_not_what_was_wrong() -> None:
    examples = PerExample(
        (0, 1, 2, 3), (0,) * 4, (0, 0, 0, 1), (0.0,) * 4, (0.1, math.inf, 0.2, 0.0), (False,) * 4
    )
    attacks = AttackedModel(
        "m",
        "m",
        (),
        examples,
        "linf",
        break_log=BreakLog(("quick: apgd-ce", "", "quick: apgd-ce", "unchanged")),
    )
    assert broken_by_text(attacks) == "quick: apgd-ce 2"
    assert broken_by_text(replace(attacks, break_log=BreakLog(("", "unchanged")))) == "nothing"


def test_the_screen_says_who_broke_what_and_whether_to_trust_it(records: tuple[Record, ...]) -> None:
    record, attacks = first_attacked(records)
    lines = list(summary_lines(record))
    assert f"trust: {attacks.diagnostics.summary}" in lines
    assert any(line.startswith(f"first broken by: {broken_by_text(attacks)}; ") for line in lines)


def test_a_sticker_is_shown_with_its_interval_and_its_control() -> None:
    heading, text = sticker_blocks(
        StickerResult("net", "an L of metal", 0.06, "normal", 376, 44, 1), RunResults(())
    )
    assert heading.text == "Adversarial sticker, net"
    assert text.text == (
        "An L of metal, over at most 6.0 % of the picture: 44 of 376 pictures that it was not fitted on are "
        "read as normal (11.7 %; 8.6 % .. 15.4 % at 95.0 %). The same area of random pattern: 1."
    )
