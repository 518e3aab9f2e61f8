"""``quintain compare``."""

import datetime
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from quintain.cli.commands.command import Command

if TYPE_CHECKING:
    from quintain.core.errors import ExitCode
    from quintain.results.comparison_records import CompareResult
    from quintain.results.records import Record
    from quintain.results.verdict import Outcome


def run(
    before: Annotated[Path, typer.Argument(help="A run folder.")],
    after: Annotated[Path, typer.Argument(help="Another.")],
    fail_on_regression: Annotated[
        bool,
        typer.Option(
            "--fail-on-regression",
            help="Exit with 1 if a claim of BEFORE is worse in AFTER, missing there, or cannot be compared; "
            "with 130 if AFTER was not finished.",
        ),
    ] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="By how much a bound may get worse: 0.01 is a point of accuracy, or 0.01 of epsilon; 0.01 "
            "if not given.",
            show_default=False,
        ),
    ] = None,
) -> int:
    from quintain.cli.ci_files import note_folder, note_reason, note_records
    from quintain.cli.console import Terminal
    from quintain.cli.screen import show_changes, show_regressions
    from quintain.core.errors import ExitCode, SettingError
    from quintain.report import compare, read
    from quintain.report.regressions import DEFAULT_TOLERANCE, regressions
    from quintain.report.results.compare import regressions_text
    from quintain.report.unfinished import unfinished_reason, unrecorded_reason
    from quintain.results.comparison_records import CompareResult

    if tolerance is not None and not fail_on_regression:
        raise SettingError(
            f"got --tolerance {tolerance:g} without --fail-on-regression; expected both: without it a change "
            "is shown, whatever its size"
        )
    clock = time.perf_counter()
    old, unrecorded = read(before), unrecorded_reason(after)
    if unrecorded and fail_on_regression:
        note_reason(unrecorded)
        Terminal().print(unrecorded, style="yellow", markup=False, soft_wrap=True)
        return ExitCode.INTERRUPTED
    new = read(after)
    cut_before, cut_after = unfinished_reason(old, before), unfinished_reason(new, after)
    if cut_before and fail_on_regression:
        raise SettingError(
            f"{cut_before}; expected a finished run to compare with, since what is not claimed cannot regress"
        )
    allowed = DEFAULT_TOLERANCE if tolerance is None else tolerance
    result = CompareResult(
        str(before),
        str(after),
        compare(old, new),
        regressions(old, new, allowed) if fail_on_regression else (),
        allowed if fail_on_regression else None,
    )
    console = Terminal()
    show_changes(console, result.changes)
    if fail_on_regression:
        show_regressions(console, result.regressions, allowed)
    for cut in filter(None, (cut_before, cut_after)):
        console.print(cut, style="yellow", markup=False, soft_wrap=True)
    if cut_after and fail_on_regression:
        code, reason = ExitCode.INTERRUPTED, cut_after
    else:
        code, reason = ExitCode.FAILED if result.regressions else ExitCode.OK, regressions_text(result)
    note_folder(after)
    note_records((_record(result, new[-1], code, reason, time.perf_counter() - clock),))
    return code


def _record(
    result: "CompareResult", later: "Record", code: "ExitCode", reason: str, seconds: float
) -> "Record":
    """The record of the comparison; data, seed and machine are those of the later run."""
    from quintain.cli.run_folder import command_line
    from quintain.results.records import SCHEMA, Record
    from quintain.results.verdict import RunVerdict

    started = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    provenance = replace(
        later.provenance, command=command_line(), started=started.isoformat(), seconds=seconds
    )
    verdict = RunVerdict(cast("Outcome", code.name), int(code), reason)
    return Record(SCHEMA, provenance, (), result, verdict=verdict)


VERB = Command(
    "compare",
    run,
    "Compare two runs claim by claim, and say which claims cannot be compared.",
    ("runs/before runs/after", "runs/main runs/branch --fail-on-regression --tolerance 0.02"),
)
