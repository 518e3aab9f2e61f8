"""Leaks and federation: what hospitals send, what can be read from it, and what they gain."""

from pathlib import Path

from quintain.report import format as fmt
from quintain.report.blocks import Block, Drawing, Drawings, Fold, Grid, Pair, Pictures, Section, Text
from quintain.report.charts import rounds
from quintain.report.pictures import Shown, shown
from quintain.report.run import Run
from quintain.report.table import Cell, Table, cells
from quintain.results.privacy_records import FederateResult, LeakResult, Reconstruction, RoundResult


def leaks(run: Run, folder: Path) -> Section | None:
    """The original, what each way of sending gives away, and what is known without any attack; private pictures are numbers alone."""
    found = run.bodies(LeakResult)
    if not found:
        return None
    blocks: list[Block] = []
    for one in found:
        if one.original is not None:
            best = [_reconstruction(attempt, folder) for attempt in (*one.reconstructions, *one.baselines) if attempt.picture is not None]
            blocks.append(Pictures(((shown(one.original, folder), *best),), large=True))
        blocks.append(Grid(_qualities(one)))
        leaking = [attempt.update_type for attempt in one.reconstructions if attempt.leaks]
        said = (
            f"It leaks from {' and from '.join(leaking)}."
            if leaking
            else "This attack shows no leak, which does not prove that there is none."
        )
        known = ", ".join(guess.update_type.removeprefix("no attack: ") for guess in one.baselines)
        blocks.append(Text(f"{said} A reconstruction leaks where it is nearer to an original than what needs no update: {known}."))
        noise = f"Noise of the privatized update: {fmt.number(one.noise_multiplier)} times the clip norm. "
        blocks.append(Text(f"{noise}Reconstructions took {fmt.seconds(one.seconds)}.", "soft"))
    lead = (
        "A model update is computed from the data, and the data can be computed back from it. "
        "Encryption on the way does not help: the server itself looks."
    )
    return Section("leaks", "Leaks", lead, tuple(blocks))


def federation(run: Run) -> Section | None:
    """Accuracy by round, and what the server saw of each hospital."""
    found = run.bodies(FederateResult)
    if not found:
        return None
    blocks = tuple(block for one in found for block in _federated(run, one))
    lead = "Hospitals train one model together; the server adds up masked vectors and learns their sum."
    return Section("federation", "Federation", lead, blocks)


def _qualities(one: LeakResult) -> Table:
    """How near each attempt comes to the site that it gains most on, and how near one comes without it."""
    rows = tuple(
        (
            Cell(attempt.update_type),
            Cell(attempt.failure_reason or ("leaks" if attempt.leaks else "not shown to leak"), "bad" if attempt.leaks else ""),
            Cell(str(attempt.site)),
            Cell(fmt.decibels(attempt.psnr)),
            Cell(fmt.decibels(one.mean_image.psnr if attempt.baseline_psnr is None else attempt.baseline_psnr)),
        )
        for attempt in one.reconstructions
    )
    return Table(("rebuilt from", "found", "site", "nearness", "known without it"), rows, words=2, caption="Reconstructions")


def _reconstruction(one: Reconstruction, folder: Path) -> Shown:
    assert one.picture is not None
    picture = shown(one.picture, folder)
    caption = picture.caption if "dB" in picture.caption else f"{one.update_type}, {fmt.decibels(one.psnr)}"
    return Shown(picture.source, caption, picture.mark or ("bad" if one.leaks else ""), picture.problem)


def _federated(run: Run, one: FederateResult) -> list[Block]:
    blocks: list[Block] = []
    if one.rounds:
        blocks.append(Pair((Drawings((_curve(one),)),), (Grid(_server(one)),)))
        summed = [each for each in one.rounds if each.survivors]
        exact = sum(each.sum_exact for each in summed)
        said = f"The secure sum equals the plain one exactly in {exact} of {fmt.count(len(summed), 'round')}."
        gone = len(one.rounds) - len(summed)
        said += f" {fmt.count(gone, 'round')} came to no sum and left the model as it was." * bool(gone)
        blocks.append(Text(f"{said} Protocol: {one.protocol}.", "bad" if exact < len(summed) else ""))
    blocks.append(Grid(_sites(run, one)))
    if one.rounds:
        blocks.append(Fold("round by round", (Grid(_rounds(one)),)))
    return blocks


def _curve(one: FederateResult) -> Drawing:
    curve = [(each.round, each.global_counts.accuracy) for each in one.rounds]
    last = one.rounds[-1].global_counts
    references = [(one.centralized_counts.accuracy, f"pooled {fmt.percent(one.centralized_counts.accuracy)}", "pooled")]
    if one.sites:
        alone = max(site.local_counts.accuracy for site in one.sites)
        references.append((alone, f"best alone {fmt.percent(alone)}", "alone"))
    references.append((last.majority_accuracy, f"constant {fmt.percent(last.majority_accuracy)}", "constant"))
    marks = [(float(each.round), f"{', '.join(each.dropped)} dropped out") for each in one.rounds if each.dropped]
    spoken = "accuracy by round: " + ", ".join(f"{number}: {fmt.percent(accuracy)}" for number, accuracy in curve)
    spoken = "; ".join((spoken, *(text for _, text, _ in references), *(f"round {number:g}: {text}" for number, text in marks)))
    name = f"together {fmt.percent(last.accuracy)}"
    return Drawing("Accuracy by round", rounds(curve, name, references, marks, title="round", spoken=spoken))


def _server(one: FederateResult) -> Table:
    """What reached the server in the round that tested the protocol most: one with dropouts if there is one."""
    each: RoundResult = max(one.rounds, key=lambda each: (bool(each.survivors), len(each.dropped), each.round))
    rows = (
        ("masked vectors", f"{each.masked_vectors} of {len(each.survivors) + len(each.dropped)}"),
        ("dropped out", ", ".join(each.dropped) or "nobody"),
        ("sum of the others is exact", _exact(each)),
        ("sent by a hospital", fmt.size_in_bytes(each.bytes_uploaded)),
        ("secure sum, all parties", fmt.seconds(each.seconds)),
    )
    lines = tuple((Cell(name), Cell(value, "bad" if value == "NO" else "")) for name, value in rows)
    return Table((f"what the server saw, round {each.round}", ""), lines, caption="What the server saw")


def _exact(each: RoundResult) -> str:
    """Whether a round's sum is exact; an abandoned round has none, which is no fault of the sum."""
    if not each.survivors:
        return "no sum"
    return "yes" if each.sum_exact else "NO"


def _sites(run: Run, one: FederateResult) -> Table:
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
    head = ("hospital", *run.class_names(classes), "accuracy alone", "balanced")
    return Table(head, rows, caption="The hospitals, and what each reaches alone")


def _rounds(one: FederateResult) -> Table:
    rows = tuple(
        cells(
            str(each.round),
            ", ".join(each.dropped) or "nobody",
            fmt.percent(each.global_counts.accuracy),
            fmt.percent(each.global_counts.balanced_accuracy),
            str(each.masked_vectors),
            _exact(each),
            fmt.size_in_bytes(each.bytes_uploaded),
            fmt.seconds(each.seconds),
        )
        for each in one.rounds
    )
    head = ("round", "dropped out", "accuracy", "balanced", "vectors seen", "exact", "bytes up", "time")
    return Table(head, rows, words=2, caption="Round by round")
