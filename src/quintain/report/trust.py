"""Diagnostics of the results, and their provenance."""

from collections.abc import Iterator

from quintain.report import format as fmt
from quintain.report import key_claims
from quintain.report.bar import stacked_bar
from quintain.report.blocks import Block, Collapsible, Section, TableBlock, Text
from quintain.report.evasion import indicator_text
from quintain.report.run_results import RunResults
from quintain.report.table import Cell, Table, cells
from quintain.results.bounds import Bracket, Consistency
from quintain.results.privacy_records import AuditResult
from quintain.results.quantity import Side
from quintain.results.records import DrillResult, Provenance
from quintain.results.robustness_records import AttackedModel, CheckResult, Finding

_LEVELS = {"error": "bad", "warning": "open", "note": "", "ok": "good"}


def diagnostics_section(run: RunResults) -> Section | None:
    """Show checks, attack diagnostics, the cost of the attacks, the mechanism tests, and notes."""
    signs = (
        (*_findings(run), *_signs(run))
        if run.claims or run.attacked_models or run.results_of(CheckResult) or run.results_of(AuditResult)
        else ()
    )
    notes = tuple(dict.fromkeys(note for record in run.records for note in record.notes))
    blocks: list[Block] = []
    if signs:
        blocks.append(
            TableBlock(
                Table(("check", "result", "details"), signs, num_text_columns=3, caption="Diagnostics")
            )
        )
    blocks += [Text(note) for note in notes]
    indicators = tuple(row for one in run.attacked_models for row in _every_indicator(run, one))
    if indicators:
        table = Table(
            ("check", "triggered", "details"), indicators, num_text_columns=3, caption="All attack indicators"
        )
        blocks.append(Collapsible("all attack indicators", (TableBlock(table),)))
    found = tuple(_finding(finding) for body in run.results_of(CheckResult) for finding in body.findings)
    if found:
        blocks.append(
            Collapsible(
                "all checks of data and model",
                (
                    TableBlock(
                        Table(
                            ("check", "result", "details"),
                            found,
                            num_text_columns=3,
                            caption="All checks of data and model",
                        )
                    ),
                ),
            )
        )
    lead = "What was checked about data, models, attacks and mechanisms."
    return Section("trust", "Diagnostics", lead, tuple(blocks)) if blocks else None


def provenance_section(run: RunResults) -> Section:
    """Show commands, steps, versions, hashes, all claims, and the assumptions behind each bound."""
    provenances = [each.provenance for each in run.records]
    blocks: list[Block] = [
        Text(command, "code") for command in dict.fromkeys(each.command for each in provenances)
    ]
    if any(run.results_of(DrillResult)) or len(run.records) > 1:
        blocks.append(TableBlock(_steps(run)))
    peak = max((body.peak_memory_bytes for body in run.results_of(DrillResult)), default=0)
    if peak:
        blocks.append(Text(f"Peak memory: {fmt.size_in_bytes(peak)}.", "soft"))
    if run.claims:
        blocks.append(Collapsible("all claims", (TableBlock(_claims(run)),)))
        blocks.append(Collapsible("assumptions behind each bound", (TableBlock(_assumptions(run)),)))
    blocks.append(
        Collapsible("versions, machine, hashes", (TableBlock(_machine(run)), TableBlock(_hashes(run))))
    )
    return Section("record", "Provenance", "How to reproduce these results.", tuple(blocks))


def _findings(run: RunResults) -> Iterator[tuple[Cell, ...]]:
    """Yield what the checks found, the worst first; those that found nothing are counted."""
    for body in run.results_of(CheckResult):
        yield (Cell("data and model"),)
        shown = [finding for finding in body.findings if finding.level != "ok"]
        for finding in sorted(shown, key=lambda finding: list(_LEVELS).index(finding.level)):
            yield _finding(finding)
        fine = len(body.findings) - len(shown)
        yield (
            Cell("all other checks" if shown else "all checks"),
            Cell("ok", "good"),
            Cell(f"{fmt.count(fine, 'check')} found nothing"),
        )


def _finding(finding: Finding) -> tuple[Cell, ...]:
    return Cell(finding.name), Cell(finding.level, _LEVELS[finding.level]), Cell(finding.message)


def _signs(run: RunResults) -> Iterator[tuple[Cell, ...]]:
    """Yield attack diagnostics with the cost of the attacks, consistency of the claims, and mechanism
    tests.
    """
    for one in run.attacked_models:
        if one.rows:
            yield (Cell(f"attacks on {run.title(one.model)}"),)
            yield from _attack_signs(one)
    if run.claims or any(run.results_of(AuditResult)):
        yield (Cell("the claims"),)
    for claim, status in run.inconsistencies:
        text = f"{key_claims.bounds_text(claim.bracket)}: {_crossing(claim.bracket)}"
        yield (
            Cell(claim.title),
            Cell(status.value, "bad" if status is Consistency.CONTRADICTION else "open"),
            Cell(text),
        )
    if run.claims and not run.inconsistencies:
        yield Cell("no bounds cross"), _yes(True), Cell(f"of {fmt.count(len(run.claims), 'claim')}")
    for body in run.results_of(AuditResult):
        for test in body.mechanism_tests:
            yield (
                Cell(f"mechanism test: {test.name}"),
                _pass(test.passed),
                Cell(f"{test.message} (p = {fmt.number(test.p_value, 2)})"),
            )
    unseeded = [each.result.kind for each in run.records if not each.provenance.reproducible]
    if unseeded:
        steps = ", ".join(unseeded)
        yield (
            Cell("reproducible from the seed"),
            Cell("no"),
            Cell(f"{steps}: randomness is drawn from the operating system"),
        )


def _attack_signs(one: AttackedModel) -> Iterator[tuple[Cell, ...]]:
    """Yield the indicators that are triggered, and how many are not; without recorded ones, nothing is said
    for the attacks.
    """
    if one.diagnostics is None:
        text = "how far the unbroken examples can be trusted is not known"
        yield Cell("attack diagnostics"), Cell("not run", "open"), Cell(text)
    else:
        for indicator in one.diagnostics.triggered:
            yield Cell(indicator.name), Cell("YES", "bad"), Cell(indicator_text(indicator))
        fine = [indicator for indicator in one.diagnostics.indicators if not indicator.triggered]
        if fine:
            names = ", ".join(indicator.name for indicator in fine)
            yield (
                Cell(f"{fmt.count(len(fine), 'other indicator')}"),
                Cell("no", "good"),
                Cell(f"not triggered: {names}"),
            )
    most = max(one.rows, key=lambda row: row.backwards)
    text = (
        f"up to {fmt.number(most.backwards)} gradients per example ({most.attack}, "
        f"{fmt.threat_text(most.threat)})"
    )
    yield Cell("cost of the attacks"), Cell(fmt.seconds(sum(row.seconds for row in one.rows))), Cell(text)


def _every_indicator(run: RunResults, one: AttackedModel) -> Iterator[tuple[Cell, ...]]:
    """Yield each indicator with its value and threshold."""
    if one.diagnostics is not None and one.diagnostics.indicators:
        yield (Cell(f"attacks on {run.title(one.model)}"),)
        for indicator in one.diagnostics.indicators:
            yield (
                Cell(indicator.name),
                Cell("YES", "bad") if indicator.triggered else Cell("no", "good"),
                Cell(indicator_text(indicator)),
            )


def _crossing(bracket: Bracket) -> str:
    return (
        f"{fmt.count(bracket.num_contradictory, 'example')} both certified and broken"
        if bracket.num_contradictory
        else "the lower bound lies above the upper bound"
    )


def _pass(passed: bool) -> Cell:
    return Cell("pass", "good") if passed else Cell("FAIL", "bad")


def _yes(found: bool) -> Cell:
    return Cell("yes", "good") if found else Cell("NO", "bad")


def _steps(run: RunResults) -> Table:
    drilled = run.results_of(DrillResult)
    steps = [(step.name, step.seconds) for body in drilled for step in body.steps]
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
                Cell(key_claims.bound_text(bracket, Side.LOWER)),
                Cell(key_claims.bound_text(bracket, Side.UPPER)),
                Cell(fmt.interval(kind, *bracket.confidence_interval(key_claims.CONFIDENCE))),
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
            if bound.method and (bound.assumptions or bound.basis != "trivial"):
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
