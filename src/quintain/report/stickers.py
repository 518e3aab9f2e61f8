"""A sticker that is one for all pictures, beside the same area of random pattern."""

from pathlib import Path

from quintain.core.statistics import binomial_interval
from quintain.report import format as fmt
from quintain.report.blocks import Block, Heading, Pictures, Text
from quintain.report.key_claims import CONFIDENCE
from quintain.report.pictures import embed
from quintain.report.run_results import RunResults
from quintain.results.robustness_records import StickerResult


def sticker_blocks(run: RunResults, one: StickerResult, folder: Path) -> list[Block]:
    """Show how often it succeeds on pictures that it was not fitted on, and what it looks like."""
    low, high = binomial_interval(one.successes, one.eligible, CONFIDENCE)
    said = (
        f"{one.description[:1].upper()}{one.description[1:]}, over at most {fmt.percent(one.area)} of the "
        f"picture: {one.successes:,} of {one.eligible:,} pictures that it was not fitted on are read as "
        f"{one.target_class} ({fmt.percent(one.successes / one.eligible)}; {fmt.percent(low)} .. "
        f"{fmt.percent(high)} at {fmt.percent(CONFIDENCE)}). The same area of random pattern: "
        f"{one.control_successes:,}."
    )
    blocks: list[Block] = [Heading(f"Adversarial sticker, {run.title(one.model)}"), Text(said)]
    if one.gallery:
        blocks.append(Text("As it is; with the sticker; with the random pattern."))
        blocks.append(
            Pictures(tuple(tuple(embed(picture, folder) for picture in row) for row in one.gallery))
        )
    return blocks
