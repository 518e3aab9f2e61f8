"""Output files that options name, standard output among them: checked before the work, and written whole."""

import errno
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from quintain.cli.run_settings import RUNS
from quintain.core.errors import ExitCode, SettingError, StorageError
from quintain.core.files import write_atomically
from quintain.results.run_layout import RUN_SETTINGS_FILE

STANDARD_OUTPUT = "-"
"""The value of ``--json`` that stands for standard output."""

MARKDOWN = frozenset({".md", ".markdown"})
"""Endings of files that a summary is added to, whatever they hold."""

OPEN_FILES = frozenset({Path("/dev"), Path("/dev/fd")})
"""Where a name stands for a file that is open already, such as standard output in a shell's ``> file``."""

_SUMMARY = re.compile(rb"^## quintain [a-z]+: [A-Z]+$", re.MULTILINE)

_HEAD_SIZE = 1000


def _has(text: bytes) -> Callable[[bytes], bool]:
    return lambda head: text in head


def _is_answer(head: bytes) -> bool:
    """Whether a file holds the answer on a property, and behind it nothing but a counterexample."""
    return head.strip() in {b"unsat", b"unknown"} or head.startswith(b"sat\n((X_0 ")


def _takes_summaries(path: Path) -> bool:
    """Whether a file is Markdown, one that is open already, GitHub's summary, or holds one of ours."""
    named = os.environ.get("GITHUB_STEP_SUMMARY", "")
    is_job_summary = bool(named) and Path(named).exists() and path.samefile(named)
    is_given = is_job_summary or path.suffix.lower() in MARKDOWN or path.parent in OPEN_FILES
    return is_given or _SUMMARY.search(path.read_bytes()) is not None


_WRITTEN_BY_US: Mapping[str, Callable[[bytes], bool]] = {
    "junit": _has(b'<testsuites name="quintain"'),
    "sarif": _has(b'"organization": "The Quintain authors"'),
    "json": _has(b'{\n "schema": '),
    "result": _is_answer,
    "witness": _is_answer,
}
"""By the name of an option, how a file that it wrote is known by its first ``_HEAD_SIZE`` bytes."""


def refuse_unwritable(
    paths: Mapping[str, Path], run_folder: Path | None, inputs: Mapping[str, Path] | None = None
) -> None:
    """Refuse files that cannot be written, that would be taken for records, or whose contents would be lost.

    Args:
        paths: The files to write, by the name of the option.
        run_folder: The run folder, if one was named.
        inputs: The files and folders that the command reads, by the name of the option.

    Raises:
        SettingError: If a file cannot be written, lies in a run folder as a .json file, is read by the
            command, or exists and was not written by the same option; if two options name one file; or if an
            option other than ``--json`` names standard output.
    """
    inputs = inputs or {}
    folders_read = (inputs.get(name) for name in ("source", *RUNS))
    run_folders = [folder.resolve() for folder in (run_folder, *folders_read) if folder]
    if any(str(path) == STANDARD_OUTPUT for name, path in paths.items() if name != "json"):
        raise SettingError("only --json writes to standard output (-); give the others a file")
    named: dict[Path, str] = {}
    for name, path in file_paths(paths):
        other = named.setdefault(path.resolve(), name)
        if other != name:
            raise SettingError(f"--{other} and --{name} both name {path}; give each a file of its own")
        _check_writable(name, path)
        _refuse_overwriting(name, path, inputs)
        in_run_folder = any(path.resolve().is_relative_to(folder) for folder in run_folders)
        in_run_folder = in_run_folder or (path.parent / RUN_SETTINGS_FILE).exists()
        if in_run_folder and path.suffix == ".json":
            raise SettingError(
                f"--{name} {path} lies in a run folder, where every .json file is a record; give a file "
                "elsewhere"
            )


def _check_writable(name: str, path: Path) -> None:
    """Raise SettingError if a path is a folder, or if no file can be written there."""
    if path.is_dir():
        raise SettingError(f"--{name} {path} is a folder; give a file")
    existing = next(one for one in (path, *path.resolve().parents) if one.exists())
    try:
        if existing.is_dir():
            with tempfile.TemporaryFile(dir=existing):
                return
        if existing != path:
            raise SettingError(f"--{name} {path}: {existing} is a file; give a path in a folder")
        if not path.is_file():
            # the reader of a pipe would be told that it ends
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return
        with path.open("ab"):
            return
    except OSError as error:
        raise SettingError(
            f"--{name} {path} cannot be written: {error.strerror}; give a file that can"
        ) from None


def _refuse_overwriting(name: str, path: Path, inputs: Mapping[str, Path]) -> None:
    """Raise SettingError if a file is read by the command, or exists and was not written by the same option.

    A summary is added to Markdown, to the file that GitHub names for it, and to what holds one.
    """
    if not path.is_file():
        return
    for other, read in inputs.items():
        if read.is_file() and path.samefile(read):
            raise SettingError(f"--{name} {path} is the file that --{other} reads; give a file of its own")
    try:
        if name == "summary":
            if path.stat().st_size and not _takes_summaries(path):
                raise SettingError(
                    f"--{name} {path} exists, and is neither Markdown (.md) nor holds a summary: it could be "
                    "spoiled; give another file"
                )
            return
        with path.open("rb") as file:
            head = file.read(_HEAD_SIZE)
    except OSError as error:
        raise SettingError(
            f"--{name} {path} cannot be read, and may be needed: {error.strerror}; give another file"
        ) from None
    if head and not _WRITTEN_BY_US[name](head):
        raise SettingError(
            f"--{name} {path} exists, and was not written by --{name}: it would be lost; give another "
            "file, or delete it"
        )


def remove_earlier(path: Path) -> None:
    """Remove what an earlier run wrote to a file, so that it does not stand for this run if it fails."""
    if path.resolve().is_file():
        path.resolve().unlink()


def file_paths(paths: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """Return the options that name a file and not standard output, each with its file."""
    return ((name, path) for name, path in paths.items() if str(path) != STANDARD_OUTPUT)


def write_or_add(path: Path, data: bytes, *, append: bool) -> None:
    """Replace a file, whole or not at all, or add to its end.

    Args:
        path: The file. What is no ordinary file, such as a pipe, is written to and not replaced; a pipe that
            nobody reads is an error.
        data: What it gets.
        append: Add to the end of what the file holds.

    Raises:
        StorageError: If the file cannot be written.
    """
    is_special = path.exists() and not path.is_file()
    if not append and not is_special:
        write_atomically(path.resolve(), data)
        return
    try:
        path.resolve().parent.mkdir(parents=True, exist_ok=True)
        if is_special:
            _write_now(path, data)
            return
        with path.open("ab") as file:
            file.write(data)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}; free some space, read the pipe, or name another file"
        ) from error


def _write_now(path: Path, data: bytes) -> None:
    """Write to a pipe or a device, which is not waited for until somebody reads it.

    Its own name is opened: what it resolves to has no path where it is named by ``/dev/fd``.
    """
    number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
    os.set_blocking(number, True)
    with os.fdopen(number, "wb") as file:
        file.write(data)


@contextmanager
def print_to_standard_error(is_active: bool) -> Iterator[None]:
    """Send everything printed inside to standard error, so that standard output holds nothing but the record.

    Args:
        is_active: False to do nothing.
    """
    if not is_active:
        yield
        return
    # compiled code prints to the file descriptor 1, which is the caller's where sys.stdout was replaced
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


def write_standard_output(text: str) -> None:
    """Write a text to standard output; a reader that closes the pipe early is no error."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def close_standard_output() -> None:
    """Send everything printed from here on to standard error, until the process ends."""
    if sys.stdout is sys.__stdout__:
        os.dup2(2, 1)


def exit_when_pipe_closes() -> None:
    """End the process with code 0 and no message once its reader closes the pipe, as ``head`` does.

    It is for what only prints, such as help.
    """
    if sys.stdout is sys.__stdout__ and hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, lambda _number, _frame: os._exit(ExitCode.OK))
