"""The section on diagnostics: what was checked about data, models, attacks and mechanisms."""

from collections.abc import Iterator

from quintain.report import claim_rows
from quintain.report import format as fmt
from quintain.report.blocks import Block, Collapsible, Section, TableBlock, Text
from quintain.report.results.check import finding_row, finding_rows
from quintain.report.run_results import RunResults
from quintain.report.table import Cell, Table
from quintain.results.bounds import Bracket, Consistency
from quintain.results.privacy_records import AuditResult
from quintain.results.robustness_records import AttackedModel, CheckResult, Indicator

_HEAD = ("check", "result", "details")


def diagnostics_section(run: RunResults) -> Section | None:
    """Show checks, attack diagnostics, the cost of the attacks, the mechanism tests, and notes."""
    checks = run.results_of(CheckResult)
    rows = (
        (*(row for check in checks for row in finding_rows(check)), *_diagnostic_rows(run))
        if run.claims or run.attacked_models or checks or run.results_of(AuditResult)
        else ()
    )
    notes = tuple(dict.fromkeys(note for record in run.records for note in record.notes))
    blocks: list[Block] = []
    if rows:
        blocks.append(TableBlock(Table(_HEAD, rows, num_text_columns=3, caption="Diagnostics")))
    blocks += [Text(note) for note in notes]
    indicators = tuple(row for one in run.attacked_models for row in _every_indicator(run, one))
    if indicators:
        table = Table(
            ("check", "triggered", "details"), indicators, num_text_columns=3, caption="All attack indicators"
        )
        blocks.append(Collapsible("all attack indicators", (TableBlock(table),)))
    found = tuple(finding_row(finding) for check in checks for finding in check.findings)
    if found:
        table = Table(_HEAD, found, num_text_columns=3, caption="All checks of data and model")
        blocks.append(Collapsible("all checks of data and model", (TableBlock(table),)))
    lead = "What was checked about data, models, attacks and mechanisms."
    return Section("trust", "Diagnostics", lead, tuple(blocks)) if blocks else None


def _diagnostic_rows(run: RunResults) -> Iterator[tuple[Cell, ...]]:
    """Yield the rows of the attacks, of the claims, of the mechanism tests, and of records without a seed."""
    for attacked in run.attacked_models:
        if attacked.rows:
            yield (Cell(f"attacks on {run.title(attacked.model)}"),)
            yield from _attack_rows(attacked)
    if run.claims or any(run.results_of(AuditResult)):
        yield (Cell("the claims"),)
    for claim, status in run.inconsistencies:
        text = f"{claim_rows.bounds_text(claim.bracket)}: {_crossing(claim.bracket)}"
        yield (
            Cell(claim.title),
            Cell(status.value, "bad" if status is Consistency.CONTRADICTION else "open"),
            Cell(text),
        )
    if run.claims and not run.inconsistencies:
        yield Cell("no bounds cross"), Cell("yes", "good"), Cell(f"of {fmt.count(len(run.claims), 'claim')}")
    for result in run.results_of(AuditResult):
        for test in result.mechanism_tests:
            yield (
                Cell(f"mechanism test: {test.name}"),
                _pass(test.passed),
                Cell(f"{test.message} (p = {fmt.number(test.p_value, 2)})"),
            )
    unseeded = [record.result.kind for record in run.records if not record.provenance.reproducible]
    if unseeded:
        steps = ", ".join(unseeded)
        yield (
            Cell("reproducible from the seed"),
            Cell("no"),
            Cell(f"{steps}: randomness is drawn from the operating system"),
        )


def _attack_rows(attacked: AttackedModel) -> Iterator[tuple[Cell, ...]]:
    """Yield the triggered indicators, the others in one row, and the cost of the attacks."""
    if attacked.diagnostics is None:
        text = "how far the unbroken examples can be trusted is not known"
        yield Cell("attack diagnostics"), Cell("not run", "open"), Cell(text)
    else:
        reason = attacked.diagnostics.not_judged
        if reason:
            yield Cell("attack diagnostics"), Cell("not judged", "open"), Cell(reason)
        for indicator in attacked.diagnostics.triggered:
            yield Cell(indicator.name), Cell("YES", "bad"), Cell(indicator_text(indicator))
        not_triggered = [one for one in attacked.diagnostics.indicators if not one.triggered]
        if not_triggered:
            names = ", ".join(indicator.name for indicator in not_triggered)
            yield (
                Cell(f"{fmt.count(len(not_triggered), 'other indicator')}"),
                Cell("no", "good"),
                Cell(f"not triggered: {names}"),
            )
    costliest = max(attacked.rows, key=lambda row: row.backwards)
    text = (
        f"up to {fmt.number(costliest.backwards)} gradients per example ({costliest.attack}, "
        f"{fmt.threat_text(costliest.threat)})"
    )
    seconds = sum(row.seconds for row in attacked.rows)
    yield Cell("cost of the attacks"), Cell(fmt.seconds(seconds)), Cell(text)


def _every_indicator(run: RunResults, attacked: AttackedModel) -> Iterator[tuple[Cell, ...]]:
    """Yield each indicator, triggered or not, with its value and threshold."""
    if attacked.diagnostics is not None and attacked.diagnostics.indicators:
        yield (Cell(f"attacks on {run.title(attacked.model)}"),)
        for indicator in attacked.diagnostics.indicators:
            yield (
                Cell(indicator.name),
                Cell("YES", "bad") if indicator.triggered else Cell("no", "good"),
                Cell(indicator_text(indicator)),
            )


def indicator_text(indicator: Indicator) -> str:
    """Return an indicator's message with its value and threshold."""
    return (
        f"{indicator.message} ({fmt.number(indicator.value, 2)}; doubtful above "
        f"{fmt.number(indicator.threshold, 2)})"
    )


def _crossing(bracket: Bracket) -> str:
    """Return in words how the bounds of a bracket cross."""
    return (
        f"{fmt.count(bracket.num_contradictory, 'example')} both certified and broken"
        if bracket.num_contradictory
        else "the lower bound lies above the upper bound"
    )


def _pass(passed: bool) -> Cell:
    return Cell("pass", "good") if passed else Cell("FAIL", "bad")
