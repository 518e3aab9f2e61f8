"""``quintain gate``."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quintain.cli.commands.command import Command
from quintain.cli.options import Require, Undecided

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quintain.cli.call import VerbCall
    from quintain.results.records import Record


def run(
    folder: Annotated[
        Path | None,
        typer.Argument(help="A run folder; if not given, the requirements are read and nothing is decided."),
    ] = None,
    require: Require = None,
    undecided: Undecided = None,
) -> int:
    from quintain.cli.call import VerbCall
    from quintain.cli.ci_files import note_folder, note_records
    from quintain.cli.screen import show_requirements
    from quintain.core.errors import ExitCode
    from quintain.report import read

    call = VerbCall(verb="gate", require=tuple(require or ()), undecided=undecided)
    if not call.requirements:
        call.print_dim("no requirement is stated, by --require or in a pyproject.toml")
    call.announce_requirements()
    if folder is None:
        return ExitCode.OK
    records = judged(call, read(folder))
    note_folder(folder)
    note_records(records)
    last = records[-1]
    show_requirements(call.console, last.requirements)
    for text in last.not_checked:
        call.print_dim(f"not checked, because this run measures nothing that it is about: {text}")
    assert last.verdict is not None
    call.warn_of_undecided(last.verdict)
    call.console.print(f"{last.verdict.outcome}: {last.verdict.reason}", markup=False, soft_wrap=True)
    return last.verdict.exit_code


def judged(call: "VerbCall", records: "Sequence[Record]") -> "tuple[Record, ...]":
    """Return the records of a run with its requirements decided anew, all of them in the last one.

    Args:
        call: States the requirements.
        records: Of the run, in the order of its steps.
    """
    from quintain.results.gate import decide, is_measured, run_verdict
    from quintain.results.records import DrillResult

    claims = [claim for record in records for claim in record.claims]
    due = [one for one in call.requirements if not one.path or is_measured(one, claims)]
    results = [record.result for record in records]
    decided = tuple(decide(one, claims, results) for one in due)
    verdict = run_verdict(decided, claims, results, undecided=call.undecided_rule)
    *steps, last = (
        replace(
            record,
            requirements=(),
            verdict=None,
            result=replace(record.result, requirements=())
            if isinstance(record.result, DrillResult)
            else record.result,
        )
        for record in records
    )
    left = tuple(one.text for one in call.requirements if one not in due)
    return (*steps, replace(last, requirements=decided, verdict=verdict, not_checked=left))


VERB = Command(
    "gate",
    run,
    "Decide the requirements on a finished run; nothing is run, and PyTorch is not needed. Without a run, "
    "check that the requirements can be read.",
    ("", "runs/2026-01-31-attack --require 'robust_accuracy(linf:4/255) >= 0.70'"),
)
