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
        (*(row for check in checks for row in finding_rows(check)), *_rows(run))
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


def _rows(run: RunResults) -> Iterator[tuple[Cell, ...]]:
    """Yield attack diagnostics with the cost of the attacks, consistency of the claims, and mechanism
    tests.
    """
    for one in run.attacked_models:
        if one.rows:
            yield (Cell(f"attacks on {run.title(one.model)}"),)
            yield from _attack_rows(one)
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
        yield Cell("no bounds cross"), _yes(True), Cell(f"of {fmt.count(len(run.claims), 'claim')}")
    for result in run.results_of(AuditResult):
        for test in result.mechanism_tests:
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


def _attack_rows(one: AttackedModel) -> Iterator[tuple[Cell, ...]]:
    """Yield the indicators that are triggered, and how many are not; without recorded ones, nothing is said
    for the attacks.
    """
    if one.diagnostics is None:
        text = "how far the unbroken examples can be trusted is not known"
        yield Cell("attack diagnostics"), Cell("not run", "open"), Cell(text)
    else:
        if one.diagnostics.not_judged:
            yield Cell("attack diagnostics"), Cell("not judged", "open"), Cell(one.diagnostics.not_judged)
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


def indicator_text(indicator: Indicator) -> str:
    """Return an indicator's message with its value and threshold."""
    return (
        f"{indicator.message} ({fmt.number(indicator.value, 2)}; doubtful above "
        f"{fmt.number(indicator.threshold, 2)})"
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
