"""How far to trust the page, and how to make it again."""

from collections.abc import Iterator

from quintain.report import format as fmt
from quintain.report import summary
from quintain.report.bar import strip
from quintain.report.blocks import Block, Fold, Grid, Section, Text
from quintain.report.evasion import trouble
from quintain.report.run import Run
from quintain.report.table import Cell, Table, cells
from quintain.results.bounds import Bracket, Consistency
from quintain.results.privacy_records import AuditResult
from quintain.results.quantity import Side
from quintain.results.records import DrillResult, Provenance
from quintain.results.robustness_records import AttackedModel, CheckResult, Finding

_LEVELS = {"error": "bad", "warning": "open", "note": "", "ok": "good"}


def trust(run: Run) -> Section | None:
    """Checks, signs of masked gradients, the cost of the attacks, the mechanism as measured, and notes."""
    signs = (*_findings(run), *_signs(run)) if run.claims or run.attacks or run.bodies(CheckResult) or run.bodies(AuditResult) else ()
    notes = tuple(dict.fromkeys(note for record in run.records for note in record.notes))
    blocks: list[Block] = []
    if signs:
        blocks.append(Grid(Table(("sign", "found", "evidence"), signs, words=3, caption="Signs for and against trust")))
    blocks += [Text(note) for note in notes]
    found = tuple(_finding(finding) for body in run.bodies(CheckResult) for finding in body.findings)
    if found:
        blocks.append(Fold("every check", (Grid(Table(("check", "found", "evidence"), found, words=3, caption="Every check")),)))
    lead = "What was looked at before these numbers were believed."
    return Section("trust", "How far to trust this", lead, tuple(blocks)) if blocks else None


def record(run: Run) -> Section:
    """Commands, steps, versions, hashes, every claim, and what each bound assumes."""
    provenances = [each.provenance for each in run.records]
    blocks: list[Block] = [Text(command, "code") for command in dict.fromkeys(each.command for each in provenances)]
    if any(run.bodies(DrillResult)) or len(run.records) > 1:
        blocks.append(Grid(_steps(run)))
    peak = max((body.peak_memory_bytes for body in run.bodies(DrillResult)), default=0)
    if peak:
        blocks.append(Text(f"Peak memory: {fmt.size_in_bytes(peak)}.", "soft"))
    if run.claims:
        blocks.append(Fold("every claim, from both sides", (Grid(_claims(run)),)))
        blocks.append(Fold("what each bound assumes", (Grid(_assumptions(run)),)))
    blocks.append(Fold("versions, machine, hashes", (Grid(_machine(run)), Grid(_hashes(run)))))
    return Section("record", "Record", "How to make this again.", tuple(blocks))


def _findings(run: Run) -> Iterator[tuple[Cell, ...]]:
    """What the checks found, the worst first; those that found nothing are counted."""
    for body in run.bodies(CheckResult):
        yield (Cell("data and model"),)
        told = [finding for finding in body.findings if finding.level != "ok"]
        for finding in sorted(told, key=lambda finding: list(_LEVELS).index(finding.level)):
            yield _finding(finding)
        fine = len(body.findings) - len(told)
        yield Cell("everything else" if told else "every check"), Cell("ok", "good"), Cell(f"{fmt.count(fine, 'check')} found nothing")


def _finding(finding: Finding) -> tuple[Cell, ...]:
    return Cell(finding.name), Cell(finding.level, _LEVELS[finding.level]), Cell(finding.message)


def _signs(run: Run) -> Iterator[tuple[Cell, ...]]:
    """Signs that attacks were weak and not the model strong, and the cost that was paid."""
    for one in run.attacks:
        if one.rows:
            yield (Cell(f"signs of weak attacks, {run.title(one.model)}"),)
            yield from _attack_signs(one)
    if run.claims or any(run.bodies(AuditResult)):
        yield (Cell("the claims"),)
    for claim, status in run.crossings:
        text = f"{summary.side(claim.bracket, Side.LOWER)}, {summary.side(claim.bracket, Side.UPPER)}: {_crossing(claim.bracket)}"
        yield Cell(claim.title), Cell(status.value, "bad" if status is Consistency.CONTRADICTION else "open"), Cell(text)
    if run.claims and not run.crossings:
        yield Cell("no two sides cross"), _yes(True), Cell(f"{fmt.count(len(run.claims), 'bracket')} looked at")
    for body in run.bodies(AuditResult):
        for test in body.mechanism_tests:
            yield Cell(f"{test.name} as promised"), _yes(test.passed), Cell(f"{test.message} (p = {fmt.number(test.p_value, 2)})")
    unseeded = [each.result.kind for each in run.records if not each.provenance.reproducible]
    if unseeded:
        yield Cell("repeats with its seed"), Cell("note"), Cell(f"not {', '.join(unseeded)}: noise came from the operating system")


def _attack_signs(one: AttackedModel) -> Iterator[tuple[Cell, ...]]:
    """The recorded signs, those that fired first; where none were recorded, nothing is said for the attacks."""
    if one.diagnostics is None:
        yield Cell("signs of weak attacks"), Cell("not looked for", "open"), Cell("how far to trust what stands is not known")
    else:
        for sign in sorted(one.diagnostics.indicators, key=lambda sign: not sign.triggered):
            yield Cell(sign.name), Cell("YES", "bad") if sign.triggered else Cell("no", "good"), Cell(trouble(sign))
    most = max(one.rows, key=lambda row: row.backwards)
    text = f"up to {fmt.number(most.backwards)} gradients an example ({most.attack}, {fmt.threat(most.threat)})"
    yield Cell("what the attacks spent"), Cell(fmt.seconds(sum(row.seconds for row in one.rows))), Cell(text)


def _crossing(bracket: Bracket) -> str:
    return (
        f"{fmt.count(bracket.num_contradictory, 'example')} proved and broken at once"
        if bracket.num_contradictory
        else "the lower side lies above the upper one"
    )


def _yes(found: bool) -> Cell:
    return Cell("yes", "good") if found else Cell("NO", "bad")


def _steps(run: Run) -> Table:
    drilled = run.bodies(DrillResult)
    steps = [(step.name, step.seconds) for body in drilled for step in body.steps]
    steps = steps or [(each.result.kind, each.provenance.seconds) for each in run.records]
    longest = max((seconds for _, seconds in steps), default=0.0) or 1.0
    rows = [
        (Cell(name), Cell(strip([(took / longest, "time")], f"{name}: {fmt.seconds(took)}")), Cell(fmt.seconds(took)))
        for name, took in steps
    ]
    total = sum(took for _, took in steps)
    return Table(
        ("step", "", "time"), (*rows, (Cell("together", "strong"), Cell(""), Cell(fmt.seconds(total), "strong"))), words=2, caption="Steps"
    )


def _claims(run: Run) -> Table:
    crossings = {claim.name: status for claim, status in run.crossings}
    rows = []
    for claim in run.claims:
        bracket = claim.bracket
        status = crossings.get(claim.name, Consistency.CONSISTENT)
        kind = bracket.quantity.metric
        rows.append(
            (
                Cell(claim.title),
                Cell(
                    fmt.threat(bracket.quantity.threat)
                    or (f"delta {fmt.delta(bracket.quantity.delta)}" if bracket.quantity.delta is not None else "unchanged")
                ),
                Cell(summary.side(bracket, Side.LOWER)),
                Cell(summary.side(bracket, Side.UPPER)),
                Cell(fmt.span(kind, *bracket.confidence_interval(summary.CONFIDENCE))),
                Cell(fmt.quantity(kind, bracket.baseline) if bracket.baseline is not None else fmt.NOTHING),
                Cell(status.value, "" if status is Consistency.CONSISTENT else "bad"),
            )
        )
    head = ("claim", "about", "from below", "from above", "95 %", "constant answer", "sides")
    return Table(head, tuple(rows), words=4, caption="Every claim")


def _assumptions(run: Run) -> Table:
    bounds: dict[tuple[str, str, str, tuple[str, ...]], list[str]] = {}
    for claim in run.claims:
        for bound in (claim.bracket.lower, claim.bracket.upper):
            if bound.method and (bound.assumptions or bound.basis != "trivial"):
                bounds.setdefault((bound.side.value, bound.method, bound.basis.value, bound.assumptions), []).append(claim.title)
    rows = tuple(
        cells(method, side, basis, "; ".join(assumes) or "nothing further", ", ".join(dict.fromkeys(titles)))
        for (side, method, basis, assumes), titles in bounds.items()
    )
    return Table(("method", "side", "rests on", "assumes", "used for"), rows, words=5, caption="Assumptions")


def _machine(run: Run) -> Table:
    machines: dict[str, Provenance] = {_machine_text(record.provenance): record.provenance for record in run.records}
    versions = dict.fromkeys(one for each in machines.values() for one in each.versions)
    rows = [cells("machine", text) for text in machines] + [cells(one.package, one.version) for one in versions]
    rows += [cells("seed", str(seed)) for seed in dict.fromkeys(record.provenance.seed for record in run.records)]
    return Table(("what", "which"), tuple(rows), words=2, caption="Versions and machine")


def _machine_text(each: Provenance) -> str:
    return f"{each.platform}, {each.device}, {each.dtype}, {fmt.count(each.threads, 'thread')}"


def _hashes(run: Run) -> Table:
    rows = [(f"data {data.name}", data.hash) for data in dict.fromkeys(record.provenance.data for record in run.records)]
    for model in run.models:
        rows.append((f"{model.title}: weights and program", model.model_hash))
        if model.path:
            rows.append((f"{model.title}: {model.path}", model.sha256))
    lines = tuple((Cell(name), Cell(digest, "code")) for name, digest in rows if digest)
    return Table(("hash of", "value"), lines, words=2, caption="Hashes")
