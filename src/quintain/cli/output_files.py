"""Output files that options name: refused before the work where they cannot be written, and written whole."""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from quintain.cli.project_settings import FILE as PROJECT_FILE
from quintain.cli.run_settings import RUNS
from quintain.core.errors import ExitCode, SettingError, StorageError
from quintain.core.files import write_atomically
from quintain.results.run_layout import RUN_SETTINGS_FILE

STANDARD_OUTPUT = "-"
"""What an option is given that writes to standard output."""

_MARKS = {
    "junit": b'<testsuites name="quintain"',
    "sarif": b'"name": "Quintain"',
    "json": b'{\n "schema": ',
}
"""What stands near the beginning of each file that is written whole, by the name of its option."""

_HEAD_SIZE = 1000


def refuse_unwritable(
    paths: Mapping[str, Path], run_folder: Path | None, inputs: Mapping[str, Path] | None = None
) -> None:
    """Refuse files that cannot be written, and those that hold what Quintain did not write there.

    Args:
        paths: By the name of the option.
        run_folder: The run folder, if one was named.
        inputs: The files and folders that the command reads, by the name of the option.

    Raises:
        SettingError: If one is a folder, no folder can hold it, it would be taken for a record, it is read
            by the command or holds anything else than what this option wrote before, or two options name the
            same file.
    """
    inputs = inputs or {}
    read = (inputs.get(name) for name in ("source", *RUNS))
    run_folders = [folder.resolve() for folder in (run_folder, *read) if folder]
    if any(str(path) == STANDARD_OUTPUT for name, path in paths.items() if name != "json"):
        raise SettingError("only --json writes to standard output (-); give the others a file")
    named: dict[Path, str] = {}
    for name, path in without_streams(paths):
        other = named.setdefault(path.resolve(), name)
        if other != name:
            raise SettingError(f"--{other} and --{name} both name {path}; give each a file of its own")
        _refuse_unwritable(name, path)
        _refuse_needed(name, path, inputs)
        inside = any(path.resolve().is_relative_to(folder) for folder in run_folders)
        inside = inside or (path.parent / RUN_SETTINGS_FILE).exists()
        if inside and path.suffix == ".json":
            raise SettingError(
                f"--{name} {path} lies in a run folder, where every .json file is a record; give a file "
                "elsewhere"
            )


def without_streams(paths: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """Every path that is no stream, by the name of its option."""
    return ((name, path) for name, path in paths.items() if str(path) != STANDARD_OUTPUT)


def write_or_add(path: Path, data: bytes, *, append: bool) -> None:
    """Write a file whole or not at all, or add to it; what is no ordinary file is written to as it is.

    Raises:
        StorageError: If that is not possible.
    """
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


@contextmanager
def standard_output_kept(is_asked: bool) -> Iterator[None]:
    """Send all that is printed to standard error, where standard output is for something else alone.

    It does so for what Python prints, and in a process of its own for everything else too.
    """
    if not is_asked:
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


def _refuse_needed(name: str, path: Path, inputs: Mapping[str, Path]) -> None:
    """Raise if a file is an input, or would be replaced though Quintain did not write it.

    Raises:
        SettingError: If so.
    """
    if not path.is_file():
        return
    for other, read in inputs.items():
        if read.is_file() and path.samefile(read):
            raise SettingError(f"--{name} {path} is the file that --{other} reads; give a file of its own")
    if name == "summary":
        if path.resolve().name == PROJECT_FILE:
            raise SettingError(f"--{name} {path} is the project's file; give a file of its own")
        return
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_SIZE)
    except OSError as error:
        raise SettingError(
            f"--{name} {path} cannot be read, and may be needed: {error.strerror}; give another file"
        ) from None
    if head and _MARKS[name] not in head:
        raise SettingError(
            f"--{name} {path} exists, and was not written by --{name}: it would be lost; give another "
            "file, or delete it"
        )


def write_standard_output(text: str) -> None:
    """Write what a program reads, whole; a reader that closed the pipe has what it wanted."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def close_standard_output() -> None:
    """Send to standard error what is printed from here on, also while the interpreter ends."""
    if sys.stdout is sys.__stdout__:
        os.dup2(2, 1)


def end_with_reader() -> None:
    """End the process quietly, with 0, when a pipe is closed: for what only prints, such as help."""
    if sys.stdout is sys.__stdout__ and hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, lambda _number, _frame: os._exit(ExitCode.OK))


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
