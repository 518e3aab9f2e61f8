"""The files of a run that CI systems read: their options, declared once, and how they come to be written.

A command knows nothing of them. Whatever way it ends, they are written from the records that it left in its
run folder, and from its error message where it failed.
"""

import inspect
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from quintain.core.errors import ExitCode, QuintainError, SettingError, StorageError

if TYPE_CHECKING:
    from quintain.report.ci.cases import CIRun
    from quintain.results.records import Record
    from quintain.results.requirements import Requirement

PANEL = "For CI systems"
STANDARD_OUTPUT = "-"

OPTIONS: dict[str, Any] = {
    "junit": Annotated[
        Path | None, typer.Option(help="Write the decisions as JUnit XML.", rich_help_panel=PANEL)
    ],
    "sarif": Annotated[
        Path | None,
        typer.Option(help="Write what is not passed as SARIF, for code scanning.", rich_help_panel=PANEL),
    ],
    "summary": Annotated[
        Path | None,
        typer.Option(
            help='Add a summary in Markdown to a file, such as "$GITHUB_STEP_SUMMARY".', rich_help_panel=PANEL
        ),
    ],
    "json": Annotated[
        Path | None,
        typer.Option(
            help="Write the record; - is standard output, and all else goes to standard error.",
            rich_help_panel=PANEL,
        ),
    ],
}
"""Every option, by its name; None where it is not given."""


@dataclass(slots=True)
class CIFiles:
    """What one call of a command was asked to write, and what is known of its run so far.

    Args:
        verb: Name of the command.
        paths: The files, by the name of the option.
        named_folder: The run folder that was named, if one was.
        folder: The run folder, once it is chosen.
        requirements: The stated requirements, once they are read.
        records: The records of the run where they differ from those in its folder.
        error: Why the command failed; empty if it did not.
    """

    verb: str = ""
    paths: dict[str, Path] = field(default_factory=dict)
    named_folder: Path | None = None
    folder: Path | None = None
    requirements: "Sequence[Requirement]" = ()
    records: "tuple[Record, ...]" = ()
    error: str = ""

    @property
    def takes_standard_output(self) -> bool:
        """Whether standard output is for the record alone."""
        return str(self.paths.get("json")) == STANDARD_OUTPUT

    def refuse_unwritable(self) -> None:
        """Refuse a file that cannot be written, before any work is done; then none is written.

        Of several processes that share a run (``torchrun``) the first one alone writes them.

        What an earlier run wrote there is removed, so that it is not taken for what this run found if this
        one is killed; a summary is added to.

        Raises:
            SettingError: If it is a folder, no folder can hold it, it would be taken for a record, or two
                options name the same file.
        """
        asked, self.paths = self.paths, {}
        if os.environ.get("RANK", "0") != "0":
            return
        named: dict[Path, str] = {}
        for name, path in _files(asked):
            other = named.setdefault(path.resolve(), name)
            if other != name:
                raise SettingError(f"--{other} and --{name} both name {path}; give each a file of its own")
            _refuse_unwritable(name, path)
            inside = self.named_folder and path.resolve().is_relative_to(self.named_folder.resolve())
            if inside and path.suffix == ".json":
                raise SettingError(
                    f"--{name} {path} lies in the run folder, where every .json file is a record; give a "
                    "file elsewhere"
                )
        self.paths = asked
        for name, path in _files(asked):
            if name != "summary" and path.resolve().is_file():
                path.resolve().unlink()

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
        for name, path in _files(self.paths):
            text = texts[name](path)
            if text:
                _write(path, text.encode(errors="replace"), append=name == "summary")
        if self.takes_standard_output and run.records:
            with suppress(BrokenPipeError):
                sys.stdout.write(encode(run.records[-1]).decode())
                sys.stdout.flush()
        return code

    def _run(self, code: int) -> "CIRun":
        """The run that has ended, with its records."""
        from quintain.cli.run_folder import command_line
        from quintain.report.ci.cases import BROKEN_OFF, CIRun
        from quintain.results.gate import run_verdict
        from quintain.results.verdict import Outcome, RunVerdict

        records = self.records or _records(self.folder)
        verdict = next((record.verdict for record in reversed(records) if record.verdict), None)
        outcome = ExitCode(code).name
        if outcome in BROKEN_OFF and (verdict is None or verdict.exit_code != code):
            verdict = RunVerdict(cast("Outcome", outcome), code, self.error or "the run failed")
        if verdict is None:
            claims = [claim for record in records for claim in record.claims]
            decided = [one for record in records for one in record.requirements]
            verdict = run_verdict(decided, claims, [record.result for record in records])
        command = records[-1].provenance.command if self.verb == "report" and records else command_line()
        return CIRun(
            verb=command.split()[1] if self.verb == "report" and records else self.verb,
            command=command,
            verdict=verdict,
            records=records,
            requirements=tuple(self.requirements),
            folder=self.folder.as_posix() if self.folder and self.folder.is_dir() else "",
        )


_CURRENT: ContextVar[CIFiles] = ContextVar("ci_files")


def note_folder(folder: Path) -> None:
    """Say which run folder the command writes into."""
    _current().folder = folder


def note_requirements(requirements: "Sequence[Requirement]") -> None:
    """Say which requirements were stated."""
    _current().requirements = requirements


def note_records(records: "tuple[Record, ...]") -> None:
    """Say what the records of the run are, where they differ from those in its folder."""
    _current().records = records


def note_error(message: str) -> None:
    """Say why the command failed."""
    _current().error = message


def _current() -> CIFiles:
    """What the call that runs was asked to write; nothing outside the command line."""
    return _CURRENT.get(CIFiles())


def add_options(run: Callable[..., None]) -> None:
    """Give a command the options for files of CI systems, which it does not know of."""
    signature = inspect.signature(run)
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in OPTIONS.items()
    ]
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *options]
    )


@contextmanager
def called(verb: str, words: dict[str, Any]) -> Iterator[CIFiles]:
    """Take the options for files of CI systems out of those of a call, while it runs."""
    given = {name: words.pop(name, None) for name in OPTIONS}
    files = CIFiles(
        verb,
        {name: path for name, path in given.items() if path is not None},
        named_folder=words.get("out") or words.get("folder"),
    )
    token = _CURRENT.set(files)
    try:
        yield files
    finally:
        _CURRENT.reset(token)


@contextmanager
def standard_output_kept(files: CIFiles) -> Iterator[None]:
    """Send all that is printed to standard error, where standard output is for the record alone.

    It does so for what Python prints, and in a process of its own for everything else too.
    """
    if not files.takes_standard_output:
        yield
        return
    is_process = sys.stdout is sys.__stdout__
    kept = os.dup(1) if is_process else -1
    sys.stdout.flush()
    if is_process:
        os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if is_process:
            os.dup2(kept, 1)
            os.close(kept)


def _files(paths: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """Every path that is no stream, by the name of its option."""
    return ((name, path) for name, path in paths.items() if str(path) != STANDARD_OUTPUT)


def _records(folder: Path | None) -> "tuple[Record, ...]":
    """The records of a run folder; none where it holds none that can be read."""
    from quintain.report import read

    if folder is None or not folder.is_dir():
        return ()
    try:
        return read(folder)
    except QuintainError:
        return ()


def _refuse_unwritable(name: str, path: Path) -> None:
    """Raise if a file cannot be written.

    Raises:
        SettingError: If it is a folder, or no folder can hold it.
    """
    if path.is_dir():
        raise SettingError(f"--{name} {path} is a folder; give a file")
    existing = next(place for place in (path, *path.resolve().parents) if place.exists())
    try:
        if existing.is_dir():
            with tempfile.TemporaryFile(dir=existing):
                return
        if existing != path:
            raise SettingError(f"--{name} {path}: {existing} is a file; give a path in a folder")
        with path.open("ab"):
            return
    except OSError as error:
        raise SettingError(
            f"--{name} {path} cannot be written: {error.strerror}; give a file that can"
        ) from None


def _write(path: Path, data: bytes, *, append: bool) -> None:
    """Write a file whole or not at all, or add to it; what is no ordinary file is written to as it is.

    Raises:
        StorageError: If that is not possible.
    """
    from quintain.core.files import write_atomically

    target = path.resolve()
    if not append and (target.is_file() or not target.exists()):
        write_atomically(target, data)
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab") as file:
            file.write(data)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; free some space") from error
