"""The section of the report on provenance, with all claims and what each bound assumes."""

from quintain.report import claim_rows
from quintain.report import format as fmt
from quintain.report.blocks import Block, Collapsible, Section, TableBlock, Text
from quintain.report.drawings.bar import stacked_bar
from quintain.report.run_results import RunResults
from quintain.report.table import Cell, Table, cells
from quintain.results.bounds import Consistency
from quintain.results.quantity import Basis, Side
from quintain.results.records import DrillResult, Provenance, SkippedResult


def provenance_section(run: RunResults) -> Section:
    """Return the section with commands, steps, versions, hashes, all claims and their assumptions."""
    commands = dict.fromkeys(record.provenance.command for record in run.records)
    blocks: list[Block] = [Text(command, "code") for command in commands]
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
    """Return the table of steps with their times: those of a drill, or else one for each record."""
    steps = [(step.name, step.seconds) for drill in run.results_of(DrillResult) for step in drill.steps]
    steps = steps or [(record.result.kind, record.provenance.seconds) for record in run.records]
    missing = {result.step for result in run.results_of(SkippedResult)}
    longest = max((seconds for _, seconds in steps), default=0.0) or 1.0
    rows = [
        (
            Cell(name),
            Cell(stacked_bar([(seconds / longest, "time")], f"{name}: {fmt.seconds(seconds)}")),
            Cell("not done", "open") if name in missing else Cell(fmt.seconds(seconds)),
        )
        for name, seconds in steps
    ]
    total = sum(seconds for _, seconds in steps)
    return Table(
        ("step", "", "time"),
        (*rows, (Cell("total", "strong"), Cell(""), Cell(fmt.seconds(total), "strong"))),
        num_text_columns=2,
        caption="Steps",
    )


def _claims(run: RunResults) -> Table:
    """Return the table of all claims: both bounds, interval, majority class (if any) and consistency."""
    has_baseline = any(claim.bracket.baseline is not None for claim in run.claims)
    inconsistent = {claim.name: status for claim, status in run.inconsistencies}
    rows = []
    for claim in run.claims:
        bracket = claim.bracket
        quantity, metric, baseline = bracket.quantity, bracket.quantity.metric, bracket.baseline
        delta = f"delta {fmt.delta(quantity.delta)}" if quantity.delta is not None else "none"
        status = inconsistent.get(claim.name, Consistency.CONSISTENT)
        rows.append(
            (
                Cell(claim.title),
                Cell(fmt.threat_text(quantity.threat) or delta),
                Cell(claim_rows.bound_text(bracket, Side.LOWER)),
                Cell(claim_rows.bound_text(bracket, Side.UPPER)),
                Cell(fmt.interval(metric, *bracket.confidence_interval(claim_rows.CONFIDENCE))),
                *(
                    [Cell(fmt.metric_value(metric, baseline) if baseline is not None else fmt.NO_VALUE)]
                    if has_baseline
                    else []
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
        *(["majority class"] if has_baseline else []),
        "consistency of bounds",
    )
    return Table(head, tuple(rows), num_text_columns=4, caption="All claims")


def _assumptions(run: RunResults) -> Table:
    """Return the table of methods and their assumptions, with the claims that rest on each."""
    titles: dict[tuple[str, str, str, tuple[str, ...]], list[str]] = {}
    for claim in run.claims:
        for bound in (claim.bracket.lower, claim.bracket.upper):
            if bound.method and (bound.assumptions or bound.basis is not Basis.TRIVIAL):
                key = (bound.method, bound.side.value, bound.basis.value, bound.assumptions)
                titles.setdefault(key, []).append(claim.title)
    rows = tuple(
        cells(
            method,
            side,
            basis,
            "; ".join(assumptions) or "nothing further",
            ", ".join(dict.fromkeys(claim_titles)),
        )
        for (method, side, basis, assumptions), claim_titles in titles.items()
    )
    return Table(
        ("method", "bound", "basis", "assumptions", "used for"),
        rows,
        num_text_columns=5,
        caption="Assumptions",
    )


def _machine(run: RunResults) -> Table:
    """Return the table of machines, package versions and seeds, each once."""
    provenances = [record.provenance for record in run.records]
    machines = {_machine_text(provenance): provenance for provenance in provenances}
    versions = dict.fromkeys(version for provenance in machines.values() for version in provenance.versions)
    rows = (
        *(cells("machine", text) for text in machines),
        *(cells(version.package, version.version) for version in versions),
        *(cells("seed", str(seed)) for seed in dict.fromkeys(provenance.seed for provenance in provenances)),
    )
    return Table(("what", "which"), rows, num_text_columns=2, caption="Versions and machine")


def _machine_text(provenance: Provenance) -> str:
    threads = fmt.count(provenance.threads, "thread")
    return f"{provenance.platform}, {provenance.device}, {provenance.dtype}, {threads}"


def _hashes(run: RunResults) -> Table:
    """Return the table of the hashes of data, models and model files."""
    hashes = [
        (f"data {data.name}", data.hash)
        for data in dict.fromkeys(record.provenance.data for record in run.records)
    ]
    for model in run.models:
        hashes.append((f"{model.title}: weights and program", model.model_hash))
        if model.path:
            hashes.append((f"{model.title}: {model.path}", model.sha256))
    rows = tuple((Cell(name), Cell(digest, "code")) for name, digest in hashes if digest)
    return Table(("hash of", "value"), rows, num_text_columns=2, caption="Hashes")
