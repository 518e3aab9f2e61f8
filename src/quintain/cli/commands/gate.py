"""``quintain gate``."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quintain.cli.commands.command import Command
from quintain.cli.options import REQUIRE, UNDECIDED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quintain.cli.call import VerbCall
    from quintain.results.gate import Judgment
    from quintain.results.records import Record


def run(
    call: "VerbCall",
    folder: Annotated[
        Path | None,
        typer.Argument(help="A run folder; if not given, the requirements are read and nothing is decided."),
    ] = None,
) -> int:
    from quintain.cli.ci_files import note_folder, note_records
    from quintain.cli.requirement_threats import measured_threats, refuse_unmeasured_requirements
    from quintain.core.errors import ExitCode
    from quintain.report import read
    from quintain.report.unfinished import unfinished_reason, unrecorded_reason
    from quintain.results.gate import Judgment

    if not call.requirements:
        call.print_dim("no requirement is stated, by --require or in a pyproject.toml")
    call.announce_requirements()
    if folder is None:
        return ExitCode.OK
    if unrecorded := unrecorded_reason(folder):
        return _decide_without_record(call, unrecorded)
    stored = read(folder)
    if not unfinished_reason(stored, folder):
        refuse_unmeasured_requirements(call.requirements, measured_threats(stored), folder)
    records = decide_anew(call, stored, folder)
    note_folder(folder)
    note_records(records)
    last = records[-1]
    assert last.verdict is not None
    return _show(call, Judgment(last.requirements, last.verdict, last.not_checked))


def _decide_without_record(call: "VerbCall", reason: str) -> int:
    """Leave every requirement undecided on a run that was cut off before its first record.

    Returns:
        The exit code.
    """
    from quintain.cli.ci_files import note_reason
    from quintain.results.gate import judge

    note_reason(reason)
    return _show(call, judge(call.requirements, (), (), undecided=call.undecided_rule, unfinished=reason))


def _show(call: "VerbCall", judgment: "Judgment") -> int:
    """Show the decision on each requirement and the verdict on the run, and return the exit code."""
    from quintain.cli.screen import show_requirements

    show_requirements(call.console, judgment.requirements)
    for text in judgment.not_checked:
        call.print_dim(f"not checked, because this run does not measure it: {text}")
    verdict = judgment.verdict
    call.warn_of_undecided(verdict)
    call.console.print(f"{verdict.outcome}: {verdict.reason}", markup=False, soft_wrap=True)
    return verdict.exit_code


def decide_anew(call: "VerbCall", records: "Sequence[Record]", folder: Path) -> "tuple[Record, ...]":
    """Return the records of a run with the requirements of this call decided on them.

    The last record gets every decision and the verdict on the run; stored decisions are dropped.

    Args:
        call: The call that states the requirements.
        records: The records of the run, in the order of its steps; at least one.
        folder: The run folder.
    """
    from quintain.report.unfinished import unfinished_reason
    from quintain.results.gate import judge

    claims = [claim for record in records for claim in record.claims]
    judgment = judge(
        call.requirements,
        claims,
        [record.result for record in records],
        undecided=call.undecided_rule,
        unfinished=unfinished_reason(records, folder),
    )
    *steps, last = map(_without_decisions, records)
    return (*steps, replace(last, **judgment._asdict()))


def _without_decisions(record: "Record") -> "Record":
    """Return a record without the decisions and the verdict that were stored in it."""
    from quintain.results.records import DrillResult

    result = record.result
    if isinstance(result, DrillResult):
        result = replace(result, requirements=())
    return replace(record, requirements=(), verdict=None, result=result)


VERB = Command(
    "gate",
    run,
    "Decide the requirements on a finished run; nothing is run, and PyTorch is not needed. Without a run, "
    "check that the requirements can be read.",
    ("", "runs/2026-01-31-attack --require 'robust_accuracy(linf:4/255) >= 0.70'"),
    after=(REQUIRE, UNDECIDED),
)
