"""How results of attacks are shown: accuracy, what broke how many examples at what cost, stickers."""

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import mean

from quintain.core.statistics import binomial_interval
from quintain.report import format as fmt
from quintain.report.blocks import Block, Heading, Pictures, Text
from quintain.report.claim_rows import CONFIDENCE
from quintain.report.pictures import embed
from quintain.report.presentation import Presentation
from quintain.report.run_results import RunResults
from quintain.results.literals import UNCHANGED
from quintain.results.robustness_records import AttackedModel, AttackResult, StickerResult


def attacked_model_lines(one: AttackedModel) -> Iterator[str]:
    """Yield the accuracy under each attack, how many examples it broke first, the costs and diagnostics."""
    accuracies = ", ".join(
        f"{row.threat} {row.attack} {fmt.percent(row.unbroken_counts.accuracy)}" for row in one.rows
    )
    yield f"accuracy under attack, {one.title}: {accuracies}"
    if one.break_log.found_by:
        cost = (
            f"{_mean_text(one.break_log.forwards)} queries and {_mean_text(one.break_log.backwards)} "
            "gradients per example"
        )
        seconds = fmt.seconds(sum(row.seconds for row in one.rows))
        yield f"first broken by: {broken_by_text(one)}; {cost}; {seconds}"
    if one.diagnostics is not None:
        yield f"trust: {one.diagnostics.summary}"


def _mean_text(counts: Sequence[int]) -> str:
    """Return a mean, with one decimal below 10; a mean above 0 is never shown as 0."""
    value = mean(counts)
    return f"{value:,.0f}" if value >= 10 or not value else f"{max(value, 0.1):.1f}"


def broken_by_text(one: AttackedModel) -> str:
    """Say how many examples each attack was the first to break: ``pgd 186, apgd 3``."""
    counts = Counter(name for name in one.break_log.found_by if name not in ("", UNCHANGED))
    return ", ".join(f"{name} {many:,}" for name, many in counts.most_common()) or "nothing"


def sticker_blocks(one: StickerResult, run: RunResults) -> Iterator[Block]:
    """Yield how often a sticker succeeds on pictures that it was not fitted on, and what it looks like."""
    low, high = binomial_interval(one.successes, one.eligible, CONFIDENCE)
    yield Heading(f"Adversarial sticker, {run.title(one.model)}")
    yield Text(
        f"{one.description[:1].upper()}{one.description[1:]}, over at most {fmt.percent(one.area)} of the "
        f"picture: {one.successes:,} of {one.eligible:,} pictures that it was not fitted on are read as "
        f"{one.target_class} ({fmt.percent(one.successes / one.eligible)}; {fmt.percent(low)} .. "
        f"{fmt.percent(high)} at {fmt.percent(CONFIDENCE)}). The same area of random pattern: "
        f"{one.control_successes:,}."
    )
    if one.gallery:
        yield Text("As it is; with the sticker; with the random pattern.")
        yield Pictures(tuple(tuple(embed(picture, run.folder) for picture in row) for row in one.gallery))


def _summary(result: AttackResult) -> Iterator[str]:
    for one in result.models:
        yield from attacked_model_lines(one)
    for sticker in result.stickers:
        yield (
            f"{sticker.description}: {sticker.successes:,} of {sticker.eligible:,} pictures that it was not "
            f"fitted on are read as {sticker.target_class}; a random one of its size, "
            f"{sticker.control_successes:,}"
        )


def _blocks(result: AttackResult, run: RunResults) -> Iterator[Block]:
    for one in result.stickers:
        yield from sticker_blocks(one, run)


PRESENTATION = Presentation(AttackResult, "Attack", summary=_summary, blocks=_blocks)
