"""Leakage from updates, and federated learning: what sites send, what can be reconstructed from it, and what
they gain.
"""

from pathlib import Path

from quintain.report import format as fmt
from quintain.report.blocks import (
    Block,
    Collapsible,
    Figure,
    FigureRow,
    Pictures,
    Section,
    TableBlock,
    Text,
    TwoColumns,
)
from quintain.report.charts import round_chart
from quintain.report.pictures import EmbeddedPicture, embed
from quintain.report.run_results import RunResults
from quintain.report.table import Cell, Table, cells
from quintain.results.privacy_records import FederateResult, LeakResult, Reconstruction, RoundResult


def leak_section(run: RunResults, folder: Path) -> Section | None:
    """Show the original, its reconstructions, and what is known without any update; private pictures are
    numbers alone.
    """
    found = run.results_of(LeakResult)
    if not found:
        return None
    blocks: list[Block] = []
    for one in found:
        if one.original is not None:
            best = [
                _reconstruction(attempt, folder)
                for attempt in (*one.reconstructions, *one.baselines)
                if attempt.picture is not None
            ]
            blocks.append(Pictures(((embed(one.original, folder), *best),), large=True))
        blocks.append(TableBlock(_qualities(one)))
        leaking = [attempt.update_type for attempt in one.reconstructions if attempt.leaks]
        said = (
            f"It leaks from {' and from '.join(leaking)}."
            if leaking
            else "This attack shows no leak, which does not prove that there is none."
        )
        known = ", ".join(guess.update_type.removeprefix("no attack: ") for guess in one.baselines)
        blocks.append(
            Text(
                f"{said} A reconstruction leaks where it is nearer to an original than what needs no update: "
                f"{known}."
            )
        )
        noise = f"Noise of the privatized update: {fmt.number(one.noise_multiplier)} times the clip norm. "
        blocks.append(Text(f"{noise}Reconstructions took {fmt.seconds(one.seconds)}.", "soft"))
    lead = (
        "A model update is computed from the data, and the data can be computed back from it. "
        "Encryption on the way does not help: the server itself looks."
    )
    return Section("leaks", "Leakage from updates", lead, tuple(blocks))


def federation_section(run: RunResults) -> Section | None:
    """Show accuracy by round, and what the server saw of each site."""
    found = run.results_of(FederateResult)
    if not found:
        return None
    blocks = tuple(block for one in found for block in _federated(run, one))
    lead = "Sites train one model together; the server adds up masked vectors and learns their sum."
    return Section("federation", "Federated learning", lead, blocks)


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
            Cell(
                fmt.decibels(one.mean_image.psnr if attempt.baseline_psnr is None else attempt.baseline_psnr)
            ),
        )
        for attempt in one.reconstructions
    )
    return Table(
        ("reconstructed from", "result", "site", "PSNR", "best PSNR without it"),
        rows,
        num_text_columns=2,
        caption="Reconstructions",
    )


def _reconstruction(one: Reconstruction, folder: Path) -> EmbeddedPicture:
    assert one.picture is not None
    picture = embed(one.picture, folder)
    caption = picture.caption if "dB" in picture.caption else f"{one.update_type}, {fmt.decibels(one.psnr)}"
    return EmbeddedPicture(
        picture.source, caption, picture.frame or ("bad" if one.leaks else ""), picture.problem
    )


def _federated(run: RunResults, one: FederateResult) -> list[Block]:
    blocks: list[Block] = []
    if one.rounds:
        blocks.append(TwoColumns((FigureRow((_curve(one),)),), (TableBlock(_server(one)),)))
        summed = [each for each in one.rounds if each.survivors]
        exact = sum(each.sum_exact for each in summed)
        said = f"The secure sum equals the plain one exactly in {exact} of {fmt.count(len(summed), 'round')}."
        gone = len(one.rounds) - len(summed)
        said += f" {fmt.count(gone, 'round')} came to no sum and left the model as it was." * bool(gone)
        blocks.append(Text(f"{said} Protocol: {one.protocol}.", "bad" if exact < len(summed) else ""))
    blocks.append(TableBlock(_sites(run, one)))
    if one.rounds:
        blocks.append(Collapsible("round by round", (TableBlock(_rounds(one)),)))
    return blocks


def _curve(one: FederateResult) -> Figure:
    curve = [(each.round, each.global_counts.accuracy) for each in one.rounds]
    last = one.rounds[-1].global_counts
    references = [
        (
            one.centralized_counts.accuracy,
            f"centralized {fmt.percent(one.centralized_counts.accuracy)}",
            "pooled",
        )
    ]
    if one.sites:
        alone = max(site.local_counts.accuracy for site in one.sites)
        references.append((alone, f"best local {fmt.percent(alone)}", "alone"))
    references.append((last.majority_accuracy, f"majority {fmt.percent(last.majority_accuracy)}", "constant"))
    marks = [
        (float(each.round), f"{', '.join(each.dropped)} dropped out") for each in one.rounds if each.dropped
    ]
    spoken = "accuracy by round: " + ", ".join(
        f"{number}: {fmt.percent(accuracy)}" for number, accuracy in curve
    )
    spoken = "; ".join(
        (
            spoken,
            *(text for _, text, _ in references),
            *(f"round {number:g}: {text}" for number, text in marks),
        )
    )
    name = f"federated {fmt.percent(last.accuracy)}"
    return Figure(
        "Accuracy by round", round_chart(curve, name, references, marks, title="round", alt_text=spoken)
    )


def _server(one: FederateResult) -> Table:
    """Return what reached the server in the round that tested the protocol most: one with dropouts if there
    is one.
    """
    each: RoundResult = max(
        one.rounds, key=lambda each: (bool(each.survivors), len(each.dropped), each.round)
    )
    rows = (
        ("masked vectors", f"{each.masked_vectors} of {len(each.survivors) + len(each.dropped)}"),
        ("dropped out", ", ".join(each.dropped) or "none"),
        ("sum of the others is exact", _exact(each)),
        ("sent by a site", fmt.size_in_bytes(each.bytes_uploaded)),
        ("secure sum, all parties", fmt.seconds(each.seconds)),
    )
    lines = tuple((Cell(name), Cell(value, "bad" if value == "NO" else "")) for name, value in rows)
    return Table((f"what the server saw, round {each.round}", ""), lines, caption="What the server saw")


def _exact(each: RoundResult) -> str:
    """Whether a round's sum is exact; an abandoned round has none, which is no fault of the sum."""
    if not each.survivors:
        return "no sum"
    return "yes" if each.sum_exact else "NO"


def _sites(run: RunResults, one: FederateResult) -> Table:
    classes = max((len(site.class_counts) for site in one.sites), default=0)
    rows = tuple(
        cells(
            site.name,
            *(f"{many:,}" for many in site.class_counts),
            fmt.percent(site.local_counts.accuracy),
            fmt.percent(site.local_counts.balanced_accuracy),
        )
        for site in one.sites
    )
    head = ("site", *run.class_names(classes), "accuracy, local only", "balanced")
    return Table(head, rows, caption="The sites, and what each reaches alone")


def _rounds(one: FederateResult) -> Table:
    rows = tuple(
        cells(
            str(each.round),
            ", ".join(each.dropped) or "none",
            fmt.percent(each.global_counts.accuracy),
            fmt.percent(each.global_counts.balanced_accuracy),
            str(each.masked_vectors),
            _exact(each),
            fmt.size_in_bytes(each.bytes_uploaded),
            fmt.seconds(each.seconds),
        )
        for each in one.rounds
    )
    head = ("round", "dropped out", "accuracy", "balanced", "masked vectors", "sum exact", "upload", "time")
    return Table(head, rows, num_text_columns=2, caption="Round by round")
