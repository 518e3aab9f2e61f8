from pathlib import Path

from quintain.report import stickers
from quintain.report.run_results import RunResults
from quintain.results.robustness_records import StickerResult


def test_a_sticker_is_told_with_its_interval_and_its_control() -> None:
    heading, text = stickers.sticker_blocks(
        RunResults(()), StickerResult("net", "an L of metal", 0.06, "normal", 376, 44, 1), Path()
    )
    assert heading.text == "Adversarial sticker, net"
    assert text.text == (
        "An L of metal, over at most 6.0 % of the picture: 44 of 376 pictures that it was not fitted on are "
        "read as normal (11.7 %; 8.6 % .. 15.4 % at 95.0 %). The same area of random pattern: 1."
    )
