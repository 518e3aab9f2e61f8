"""The files of a run that CI systems read: their options, declared once, and how they come to be written.

A command knows nothing of them. Whatever way it ends, they are written from the records that it left in its
run folder, and from its error message where it failed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from quintain.cli.options import option
from quintain.cli.output_files import (
    STANDARD_OUTPUT,
    file_paths,
    refuse_unwritable,
    remove_earlier,
    write_or_add,
    write_standard_output,
)
from quintain.cli.run_settings import input_paths
from quintain.core.errors import ExitCode, QuintainError
from quintain.core.processes import is_first_process

if TYPE_CHECKING:
    from quintain.report.ci.cases import CIRun
    from quintain.results.records import Record
    from quintain.results.requirements import Requirement
    from quintain.results.verdict import RunVerdict

PANEL = "For CI systems"

OPTIONS = (
    option(
        "junit",
        Path | None,
        typer.Option(None, help="Write the decisions as JUnit XML.", rich_help_panel=PANEL),
    ),
    option(
        "sarif",
        Path | None,
        typer.Option(
            None, help="Write what is not passed as SARIF, for code scanning.", rich_help_panel=PANEL
        ),
    ),
    option(
        "summary",
        Path | None,
        typer.Option(
            None,
            help='Add a summary in Markdown to a file, such as "$GITHUB_STEP_SUMMARY".',
            rich_help_panel=PANEL,
        ),
    ),
    option(
        "json",
        Path | None,
        typer.Option(
            None,
            help="Write the record; - is standard output, and all else goes to standard error.",
            rich_help_panel=PANEL,
        ),
    ),
)
"""Every option; None where it is not given."""


@dataclass(slots=True)
class CIFiles:
    """What one call of a command was asked to write, and what is known of its run so far.

    Args:
        verb: Name of the command.
        paths: The files, by the name of the option.
        named_folder: The run folder that was named, if one was.
        inputs: The files and folders that the command reads, by the name of the option.
        folder: The run folder, once it is chosen.
        requirements: The stated requirements, once they are read.
        not_checked: Requirements that a command without a record does not measure.
        records: The records of the run where they differ from those in its folder.
        reason: Why the command ended as it did, where no record says so: its error, or what it found.
    """

    verb: str = ""
    paths: dict[str, Path] = field(default_factory=dict)
    named_folder: Path | None = None
    inputs: dict[str, Path] = field(default_factory=dict)
    folder: Path | None = None
    requirements: "Sequence[Requirement]" = ()
    not_checked: Sequence[str] = ()
    records: "tuple[Record, ...]" = ()
    reason: str = ""

    @property
    def takes_standard_output(self) -> bool:
        """Whether standard output is for the record alone."""
        return str(self.paths.get("json")) == STANDARD_OUTPUT

    def prepare(self) -> None:
        """Refuse files that cannot be written or must not be lost, before any work; then none is written.

        What an earlier run wrote there is removed, so that it is not taken for what this run found if this
        one is killed; a summary is added to. Of several processes that share a run (``torchrun``) the first
        one alone writes files.

        Raises:
            SettingError: If one cannot be written, or holds what is none of this option's files.
        """
        requested, self.paths = self.paths, {}
        if not is_first_process():
            return
        refuse_unwritable(requested, self.named_folder, self.inputs)
        self.paths = requested
        for name, path in file_paths(requested):
            if name != "summary":
                remove_earlier(path)

    def write(self, code: int) -> int:
        """Write the files of a run that has ended with an exit code, and return that code.

        Raises:
            StorageError: If one cannot be written.
        """
        if not self.paths:
            return code
        from quintain.report.ci.cases import BROKEN_OFF
        from quintain.report.ci.junit import junit
        from quintain.report.ci.locations import Repository
        from quintain.report.ci.sarif import sarif
        from quintain.report.ci.summary import summary
        from quintain.results.codec import encode
        from quintain.results.run_layout import RESULT_FILE

        # a report or a gate is about the folder that was named; what breaks off may have named another run's
        if self.folder is None and ExitCode(code).name not in BROKEN_OFF:
            self.folder = self.named_folder
        run = self._run(code)
        record = self.folder / RESULT_FILE if self.folder else None
        texts: dict[str, Callable[[Path], str]] = {
            "junit": lambda _: junit(run),
            "sarif": lambda _: sarif(run, Repository.around(Path.cwd(), record)),
            "summary": lambda path: summary(run, used_bytes=path.stat().st_size if path.is_file() else 0),
            "json": lambda _: encode(run.records[-1]).decode() if run.records else "",
        }
        # files first, and the record on standard output last
        for name, path in file_paths(self.paths):
            text = texts[name](path)
            if text:
                write_or_add(path, text.encode(errors="replace"), append=name == "summary")
        if self.takes_standard_output and run.records:
            write_standard_output(encode(run.records[-1]).decode())
        return code

    def _run(self, code: int) -> "CIRun":
        """The run that has ended, with its records."""
        from quintain.cli.run_folder import command_line
        from quintain.report.ci.cases import BROKEN_OFF, CIRun
        from quintain.report.run_results import RunResults
        from quintain.report.unfinished import unfinished_reason
        from quintain.results.gate import judge, run_verdict
        from quintain.results.verdict import Outcome, RunVerdict

        # the verdict that the run stored, unless the command broke off after it was
        records = self.records or _records(self.folder)
        verdict = next((record.verdict for record in reversed(records) if record.verdict), None)
        outcome = ExitCode(code).name
        if outcome in BROKEN_OFF and (verdict is None or verdict.exit_code != code):
            verdict = RunVerdict(cast("Outcome", outcome), code, self.reason or "the run failed")
        # a report on an unfinished run has a verdict of its own; a run that stored none gets its verdict here
        claims = [claim for record in records for claim in record.claims]
        results = [record.result for record in records]
        unfinished = self.folder and self.verb == "report" and unfinished_reason(records, self.folder)
        if unfinished:
            verdict = judge((), claims, results, unfinished=unfinished).verdict
            records = tuple(_mark_undecided(record, verdict) for record in records)
        if verdict is None:
            verdict = run_verdict(RunResults.of(records).requirement_results, claims, results)
            verdict = replace(verdict, reason=self.reason or verdict.reason)
        # what no record says: the answer on a property, an alarm that came before there was one
        if code and verdict.exit_code != code and self.verb != "report":
            reason = self.reason or f"the command ended with exit code {code}"
            verdict = RunVerdict(cast("Outcome", outcome), code, reason)
        command = records[-1].provenance.command if self.verb == "report" and records else command_line()
        return CIRun(
            verb=command.split()[1] if self.verb == "report" and records else self.verb,
            command=command,
            verdict=verdict,
            records=records,
            requirements=tuple(self.requirements),
            not_checked=(*self.not_checked, *(text for record in records for text in record.not_checked)),
            folder=self.folder.as_posix() if self.folder and self.folder.is_dir() else "",
        )


_CURRENT: ContextVar[CIFiles] = ContextVar("ci_files")


def note_folder(folder: Path) -> None:
    """Say which run folder the command writes into."""
    _current().folder = folder


def note_requirements(requirements: "Sequence[Requirement]") -> None:
    """Say which requirements were stated."""
    _current().requirements = requirements


def note_not_checked(requirements: Sequence[str]) -> None:
    """Say which requirements a command without a record does not measure."""
    _current().not_checked = requirements


def note_records(records: "tuple[Record, ...]") -> None:
    """Say what the records of the run are, where they differ from those in its folder."""
    _current().records = records


def note_reason(message: str) -> None:
    """Say why the command ends as it does, where no record says so: its error, or what it found."""
    _current().reason = message


def _current() -> CIFiles:
    """What the call that runs was asked to write; nothing outside the command line."""
    return _CURRENT.get(CIFiles())


def write_refused(verb: str, words: Sequence[str]) -> None:
    """Write the files of a call whose command line was refused, as far as it names any.

    Args:
        verb: Name of the command.
        words: What follows it on the command line.
    """
    named = {one.name: _value_on(words, f"--{one.name}") for one in OPTIONS}
    with (
        take_options(verb, {name: Path(value) for name, value in named.items() if value}) as files,
        suppress(QuintainError),
    ):
        files.prepare()
        note_reason("the command line is wrong: standard error says where")
        files.write(ExitCode.USAGE)


def _value_on(words: Sequence[str], option: str) -> str:
    """Return the last value of an option on a command line that may be wrong; empty if it has none."""
    found = ""
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        if word == option:
            found = following or found
        if word.startswith(f"{option}="):
            found = word.partition("=")[2]
    return found


@contextmanager
def take_options(verb: str, words: dict[str, Any]) -> Iterator[CIFiles]:
    """Take the options for files of CI systems out of those of a call, while it runs."""
    given = {one.name: words.pop(one.name, None) for one in OPTIONS}
    files = CIFiles(
        verb,
        {name: path for name, path in given.items() if path is not None},
        named_folder=words.get("out") or words.get("folder"),
        inputs=input_paths(words),
    )
    token = _CURRENT.set(files)
    try:
        yield files
    finally:
        _CURRENT.reset(token)


def _mark_undecided(record: "Record", verdict: "RunVerdict") -> "Record":
    """Return the record of an unfinished run with all requirements undecided."""
    from quintain.results.verdict import Decision, Verdict

    undecided = Verdict(Decision.UNDECIDED, verdict.reason)
    return replace(
        record,
        requirements=tuple(replace(one, verdict=undecided) for one in record.requirements),
        verdict=verdict if record.verdict else None,
    )


def _records(folder: Path | None) -> "tuple[Record, ...]":
    """The records of a run folder; none where it holds none that can be read."""
    from quintain.report import read

    if folder is None or not folder.is_dir():
        return ()
    try:
        return read(folder)
    except QuintainError:
        return ()
