"""The section on provenance: commands, steps, versions, hashes, all claims, and what each bound assumes."""

from quintain.report import claim_rows
from quintain.report import format as fmt
from quintain.report.blocks import Block, Collapsible, Section, TableBlock, Text
from quintain.report.drawings.bar import stacked_bar
from quintain.report.run_results import RunResults
from quintain.report.table import Cell, Table, cells
from quintain.results.bounds import Consistency
from quintain.results.quantity import Basis, Side
from quintain.results.records import DrillResult, Provenance


def provenance_section(run: RunResults) -> Section:
    """Show commands, steps, versions, hashes, all claims, and the assumptions behind each bound."""
    provenances = [each.provenance for each in run.records]
    blocks: list[Block] = [
        Text(command, "code") for command in dict.fromkeys(each.command for each in provenances)
    ]
    if any(run.results_of(DrillResult)) or len(run.records) > 1:
        blocks.append(TableBlock(_steps(run)))
    peak = max((result.peak_memory_bytes for result in run.results_of(DrillResult)), default=0)
    if peak:
        blocks.append(Text(f"Peak memory: {fmt.size_in_bytes(peak)}.", "soft"))
    if run.claims:
        blocks.append(Collapsible("all claims", (TableBlock(_claims(run)),)))
        blocks.append(Collapsible("assumptions behind each bound", (TableBlock(_assumptions(run)),)))
    blocks.append(
        Collapsible("versions, machine, hashes", (TableBlock(_machine(run)), TableBlock(_hashes(run))))
    )
    return Section("record", "Provenance", "How to reproduce these results.", tuple(blocks))


def _steps(run: RunResults) -> Table:
    drilled = run.results_of(DrillResult)
    steps = [(step.name, step.seconds) for result in drilled for step in result.steps]
    steps = steps or [(each.result.kind, each.provenance.seconds) for each in run.records]
    longest = max((seconds for _, seconds in steps), default=0.0) or 1.0
    rows = [
        (
            Cell(name),
            Cell(stacked_bar([(took / longest, "time")], f"{name}: {fmt.seconds(took)}")),
            Cell(fmt.seconds(took)),
        )
        for name, took in steps
    ]
    total = sum(took for _, took in steps)
    return Table(
        ("step", "", "time"),
        (*rows, (Cell("total", "strong"), Cell(""), Cell(fmt.seconds(total), "strong"))),
        num_text_columns=2,
        caption="Steps",
    )


def _claims(run: RunResults) -> Table:
    crossings = {claim.name: status for claim, status in run.inconsistencies}
    rows = []
    for claim in run.claims:
        bracket = claim.bracket
        status = crossings.get(claim.name, Consistency.CONSISTENT)
        kind = bracket.quantity.metric
        rows.append(
            (
                Cell(claim.title),
                Cell(
                    fmt.threat_text(bracket.quantity.threat)
                    or (
                        f"delta {fmt.delta(bracket.quantity.delta)}"
                        if bracket.quantity.delta is not None
                        else "none"
                    )
                ),
                Cell(claim_rows.bound_text(bracket, Side.LOWER)),
                Cell(claim_rows.bound_text(bracket, Side.UPPER)),
                Cell(fmt.interval(kind, *bracket.confidence_interval(claim_rows.CONFIDENCE))),
                Cell(
                    fmt.metric_value(kind, bracket.baseline) if bracket.baseline is not None else fmt.NO_VALUE
                ),
                Cell(status.value, "" if status is Consistency.CONSISTENT else "bad"),
            )
        )
    head = (
        "claim",
        "threat or delta",
        "lower bound",
        "upper bound",
        "95 % interval",
        "majority class",
        "consistency",
    )
    return Table(head, tuple(rows), num_text_columns=4, caption="All claims")


def _assumptions(run: RunResults) -> Table:
    bounds: dict[tuple[str, str, str, tuple[str, ...]], list[str]] = {}
    for claim in run.claims:
        for bound in (claim.bracket.lower, claim.bracket.upper):
            if bound.method and (bound.assumptions or bound.basis is not Basis.TRIVIAL):
                bounds.setdefault(
                    (bound.side.value, bound.method, bound.basis.value, bound.assumptions), []
                ).append(claim.title)
    rows = tuple(
        cells(method, side, basis, "; ".join(assumes) or "nothing further", ", ".join(dict.fromkeys(titles)))
        for (side, method, basis, assumes), titles in bounds.items()
    )
    return Table(
        ("method", "bound", "basis", "assumptions", "used for"),
        rows,
        num_text_columns=5,
        caption="Assumptions",
    )


def _machine(run: RunResults) -> Table:
    machines: dict[str, Provenance] = {
        _machine_text(record.provenance): record.provenance for record in run.records
    }
    versions = dict.fromkeys(one for each in machines.values() for one in each.versions)
    rows = [cells("machine", text) for text in machines] + [
        cells(one.package, one.version) for one in versions
    ]
    rows += [
        cells("seed", str(seed)) for seed in dict.fromkeys(record.provenance.seed for record in run.records)
    ]
    return Table(("what", "which"), tuple(rows), num_text_columns=2, caption="Versions and machine")


def _machine_text(each: Provenance) -> str:
    return f"{each.platform}, {each.device}, {each.dtype}, {fmt.count(each.threads, 'thread')}"


def _hashes(run: RunResults) -> Table:
    rows = [
        (f"data {data.name}", data.hash)
        for data in dict.fromkeys(record.provenance.data for record in run.records)
    ]
    for model in run.models:
        rows.append((f"{model.title}: weights and program", model.model_hash))
        if model.path:
            rows.append((f"{model.title}: {model.path}", model.sha256))
    lines = tuple((Cell(name), Cell(digest, "code")) for name, digest in rows if digest)
    return Table(("hash of", "value"), lines, num_text_columns=2, caption="Hashes")
