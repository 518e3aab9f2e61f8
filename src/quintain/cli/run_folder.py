"""The folder of a run: its name, whether it can be written to, and how an interrupted run is resumed."""

import datetime
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from quintain.cli.run_settings import current_contents
from quintain.core.errors import RunFolderError, StorageError
from quintain.core.files import write_atomically
from quintain.core.processes import is_first_process, world_size
from quintain.results.run_layout import VERB_FILE


def command_line() -> str:
    """Return how the command was called."""
    return shlex.join(["quintain", *sys.argv[1:]])


def resume_command(out: Path | None, folder: Path) -> str:
    """Return the command that resumes a run in a folder.

    Args:
        out: What ``--out`` said.
        folder: The run folder.
    """
    return command_line() if out else f"{command_line()} --out {shlex.quote(str(folder))}"


def choose_folder(verb: str, out: Path | None, resume_dir: str) -> Path:
    """Return the run folder: new, empty, or that of an interrupted run of the same command.

    Args:
        verb: Name of the command.
        out: What ``--out`` said.
        resume_dir: Subfolder with the state of an interrupted run; empty if the command cannot resume.

    Raises:
        RunFolderError: If it already holds another result, or an unfinished run of another command.
    """
    if out is not None:
        if out.exists() and not out.is_dir():
            raise RunFolderError(f"--out {out} is a file; give a folder that is new or empty")
        unfinished = bool(resume_dir) and (out / resume_dir).is_dir()
        if unfinished:
            _check_unfinished(out / resume_dir, verb)
        if out.exists() and not unfinished and any(out.iterdir()):
            raise RunFolderError(f"{out} is not an empty folder; choose another --out, or delete it")
        return out
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    names = (
        Path("runs") / f"{day}-{verb}{suffix}"
        for suffix in ("", *(f"-{number}" for number in range(2, 10_000)))
    )
    return next(path for path in names if not path.exists())


@contextmanager
def writable_folder(folder: Path, *, is_named: bool = True) -> Iterator[None]:
    """Create the run folder before the work starts, check that it is writable, and keep other processes out.

    It is removed if it stays empty.

    Args:
        folder: The run folder.
        is_named: Whether ``--out`` named it; one that did not exist when it was chosen is made by this run.

    Raises:
        StorageError: If it cannot be written to.
        RunFolderError: If another process works there, or made the folder since it was chosen.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=is_named or world_size() > 1)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError:
        raise RunFolderError(
            f"another run has begun in {folder} just now; run the command again, or give each run an --out "
            "of its own"
        ) from None
    except OSError as error:
        raise StorageError(
            f"cannot write into {folder}: {error.strerror}; choose another folder with --out"
        ) from error
    with lock_folder(folder):
        try:
            yield
        finally:
            with suppress(OSError):
                folder.rmdir()
                for parent in made[1:]:
                    parent.rmdir()


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock a run folder against other processes while this one works there.

    On a file system that has no locks, nobody is kept out.

    Raises:
        RunFolderError: If another process works there.
    """
    if sys.platform == "win32" or not is_first_process():
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunFolderError(
                f"another process is working in {folder}; wait until it ends, or give each run an --out of "
                "its own"
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(handle)


@contextmanager
def mark_unfinished(folder: Path, verb: str, resume_dir: str) -> Iterator[None]:
    """Write down which command's run is unfinished, and on which model, before anything of it is saved."""
    if not resume_dir:
        yield
        return
    write_atomically(folder / resume_dir / VERB_FILE, _marking(verb).encode())
    try:
        yield
    finally:
        unmark(folder, resume_dir)


def unmark(folder: Path, resume_dir: str) -> None:
    """Remove the subfolder of an unfinished run if nothing else is left in it."""
    place = folder / resume_dir
    if place.is_dir() and [path.name for path in place.iterdir()] == [VERB_FILE]:
        (place / VERB_FILE).unlink()
        place.rmdir()


def _marking(verb: str) -> str:
    """Return a line with the command, and one for each file of its model with that file's hash."""
    return "".join(f"{line}\n" for line in (verb, *map(" = ".join, current_contents().items())))


def _check_unfinished(place: Path, verb: str) -> None:
    """Raise if another command's run is unfinished there, or one on other files of a model."""
    file = place / VERB_FILE
    if not any(place.iterdir()):
        return
    try:
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
    except UnicodeDecodeError:
        text = ""
    found, *contents = text.splitlines() or ["a command that it does not name"]
    if found != verb:
        raise RunFolderError(
            f"{place} holds an unfinished run of {found}, and this is quintain {verb}; choose another --out"
        )
    differ = [line for line in _marking(verb).splitlines()[1:] if line not in contents]
    if differ:
        names = " and ".join(line.partition(" = ")[0] for line in differ)
        raise RunFolderError(
            f"{place} holds an unfinished run on another model: the {names} is not what it was; use the "
            "files as they were, or another --out"
        )
