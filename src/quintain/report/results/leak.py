"""Leakage: what is reconstructed of a site's example from its update, beside what is known without it."""

from collections.abc import Iterator, Sequence

from quintain.report import format as fmt
from quintain.report.blocks import Block, Heading, Pictures, TableBlock, Text
from quintain.report.leak_blocks import measurement_blocks
from quintain.report.leak_table import interval_text, is_shown_to_leak, teaches_everyone, value_text
from quintain.report.pictures import EmbeddedPicture, embed
from quintain.report.presentation import Presentation
from quintain.report.run_results import RunResults
from quintain.report.table import Cell, Table
from quintain.results.leak_records import LeakMeasurement, worst_of
from quintain.results.literals import NO_ATTACK
from quintain.results.privacy_records import LEAK_MARGIN, LeakResult, Reconstruction


def _summary(result: LeakResult) -> Iterator[str]:
    yield from _leak_lines(result)
    if not result.reconstructions:
        return
    # of older records the baselines stand here alone
    known = result.baselines if all(one.baseline_psnr is None for one in result.reconstructions) else ()
    found = "; ".join(f"{one.update_type}: {_quality(one)}" for one in (*result.reconstructions, *known))
    yield (
        f"pictures behind updates, by PSNR (a leak is {fmt.number(LEAK_MARGIN)} dB above what is known "
        f"without the update): {found}"
    )


def _leak_lines(result: LeakResult) -> Iterator[str]:
    """Yield which goals leak, and a line for each goal, model and kind of candidates."""
    worst = worst_of(result.measurements)
    if not worst:
        return
    leaking = tuple(dict.fromkeys(one.goal for one in worst if is_shown_to_leak(one)))
    nothing = (
        "no leak of the training data is shown: what is told of hidden attributes may hold for everyone"
        if teaches_everyone(worst)
        else "no attack did better than what needs no access"
    )
    yield f"shown to leak: {', '.join(leaking)}" if leaking else f"{nothing}; a stronger attack still might"
    several = len({one.model for one in worst}) > 1
    for one, others in _headlines(worst):
        ceiling = "" if one.ceiling is None else f"; the claim allows {value_text(one, one.ceiling)}"
        about = f"{one.candidates}, {one.model}" if several else one.candidates
        verdict = "LEAKS" if is_shown_to_leak(one) else "no leak shown"
        verdict = "no leak by itself" if one.may_hold_for_everyone else verdict
        yield (
            f"{one.goal} ({about}): {verdict}, {one.attack} has {one.measure} "
            f"{value_text(one, one.value)} (95 %: {interval_text(one)}), without access "
            f"{value_text(one, one.baseline)} ({one.baseline_name}){ceiling}{_without_leak(one, others)}"
        )


def _headlines(
    worst: Sequence[LeakMeasurement],
) -> Iterator[tuple[LeakMeasurement, Sequence[LeakMeasurement]]]:
    """Yield for each goal, model and kind of candidates the first measure that shows a leak, or the first,
    with all measures of it.
    """
    groups: dict[tuple[str, str, str], list[LeakMeasurement]] = {}
    for one in worst:
        groups.setdefault((one.goal, one.model, one.candidates), []).append(one)
    for found in groups.values():
        yield next(filter(is_shown_to_leak, found), found[0]), found


def _without_leak(one: LeakMeasurement, found: Sequence[LeakMeasurement]) -> str:
    """Say of a leak by a measure that bounds no claim that the measures of the claims show none."""
    claimed = [other for other in found if other.metric is not None]
    if not claimed or not is_shown_to_leak(one) or any(map(is_shown_to_leak, claimed)):
        return ""
    known = ", ".join(f"{other.measure} ({value_text(other, other.value)})" for other in claimed)
    return f"; not shown by {known}, on which the claim rests"


def _quality(one: Reconstruction) -> str:
    if one.failure_reason:
        return "not reconstructed"
    known = one.baseline_psnr
    beside = "" if known is None else f" (site {one.site}, {fmt.decibels(known)} without it)"
    return f"{fmt.decibels(one.psnr)}{beside}{' LEAKS' * one.leaks}"


def _blocks(one: LeakResult, run: RunResults) -> list[Block]:
    """Show the original, its reconstructions, and what is known without any update.

    Private pictures are numbers alone.
    """
    blocks: list[Block] = list(measurement_blocks(one, run))
    if not one.reconstructions:
        return blocks
    if blocks:
        blocks.append(Heading("Pictures behind updates"))
    if one.original is not None:
        best = [
            _picture(attempt, run)
            for attempt in (*one.reconstructions, *one.baselines)
            if attempt.picture is not None
        ]
        blocks.append(Pictures(((embed(one.original, run.folder), *best),), large=True))
    blocks.append(TableBlock(_qualities(one)))
    leaking = [attempt.update_type for attempt in one.reconstructions if attempt.leaks]
    text = (
        f"It leaks from {' and from '.join(leaking)}."
        if leaking
        else "This attack shows no leak, which does not prove that there is none."
    )
    known = ", ".join(guess.update_type.removeprefix(NO_ATTACK) for guess in one.baselines)
    blocks.append(
        Text(
            f"{text} A reconstruction leaks where it is nearer to an original, by {fmt.number(LEAK_MARGIN)} "
            f"dB, than what needs no update ({known}) and than what another site's update gives."
        )
    )
    noise = f"Noise of the privatized update: {fmt.number(one.noise_multiplier)} times the clip norm. "
    blocks.append(Text(f"{noise}Reconstructions took {fmt.seconds(one.seconds)}.", "soft"))
    return blocks


def _qualities(one: LeakResult) -> Table:
    """Return the quality of each reconstruction, beside the best that is known without it."""
    rows = tuple(
        (
            Cell(attempt.update_type),
            Cell(
                attempt.failure_reason or ("leaks" if attempt.leaks else "not shown to leak"),
                "bad" if attempt.leaks else "",
            ),
            Cell(str(attempt.site)),
            Cell(fmt.decibels(attempt.psnr)),
            Cell(fmt.decibels(_baseline_psnr(one, attempt))),
        )
        for attempt in one.reconstructions
    )
    return Table(
        ("reconstructed from", "result", "site", "PSNR", "best PSNR without it"),
        rows,
        num_text_columns=2,
        caption="Reconstructions",
    )


def _baseline_psnr(one: LeakResult, attempt: Reconstruction) -> float | None:
    """Return the best quality without the update; of older records, that of the mean image."""
    if attempt.baseline_psnr is not None or one.mean_image is None:
        return attempt.baseline_psnr
    return one.mean_image.psnr


def _picture(one: Reconstruction, run: RunResults) -> EmbeddedPicture:
    assert one.picture is not None
    picture = embed(one.picture, run.folder)
    caption = picture.caption if "dB" in picture.caption else f"{one.update_type}, {fmt.decibels(one.psnr)}"
    return EmbeddedPicture(
        picture.source, caption, picture.frame or ("bad" if one.leaks else ""), picture.problem
    )


PRESENTATION = Presentation(LeakResult, "Leakage", summary=_summary, blocks=_blocks)
