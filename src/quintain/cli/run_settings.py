"""The settings of the command that runs, as they stand beside its result."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from stat import S_ISDIR
from typing import NamedTuple

from quintain.core.errors import RunFolderError, StorageError
from quintain.core.files import named_path, read_bytes, sha256, sha256_file, write_atomically
from quintain.core.source_files import source_hash
from quintain.results.run_layout import ADVERSARIAL_FILE, RUN_SETTINGS_FILE
from quintain.version import __version__

PRESENTATION = frozenset({"out", "require", "undecided", "json", "junit", "sarif", "summary"})
"""Parameters that change no result: where it goes, what is required of it, and how it is shown."""

CONTENTS = frozenset({"model", "weights", "source", "train", "control", "mechanism", "kind", "inputs"})
"""Parameters that name files, which are compared by their content; a run folder by its adversarial examples,
which are all that is read of it and which name what they were made of.
"""

ONNX_DATA = (".data", "_data")
"""Endings that PyTorch and onnx give to a file of weights beside an ONNX file."""

MODEL = "model as loaded"
"""Key of how the model was loaded, and of its hash."""

EXAMPLES = "data as loaded"
"""Key of how the examples were named, whose hash the record has."""

RUNS = frozenset({"before", "after", "private"})
"""Parameters that name run folders, which are only read."""

DATES = frozenset({"data", "public"})
"""Parameters that name files, which are compared by their names, sizes and dates: a hash of private records
would tell who holds a guess of them whether it is right.
"""


_MODEL: ContextVar[dict[str, int | str] | None] = ContextVar("model", default=None)
_COMMAND: ContextVar[tuple[str, Mapping[str, object]]] = ContextVar("command", default=("", {}))


@contextmanager
def remember_command(command: str, words: Mapping[str, object]) -> Iterator[None]:
    """Remember the command that runs and its parameters, for the settings beside its result."""
    token, loaded = _COMMAND.set((command, words)), _MODEL.set({})
    try:
        yield
    finally:
        _COMMAND.reset(token)
        _MODEL.reset(loaded)


def note_model(digest: str, arguments: Mapping[str, int]) -> None:
    """Say which net the command has loaded, for the settings beside its result; the first one counts.

    Args:
        digest: The model's hash.
        arguments: What it was loaded with, beside its name and its weights.
    """
    loaded = _MODEL.get()
    if loaded is not None and not loaded:
        loaded.update({**arguments, "hash": digest})


def current_settings() -> dict[str, object]:
    """Return the settings of the command that runs, by option; empty outside a command."""
    command, words = _COMMAND.get()
    if not command:
        return {}
    found: dict[str, object] = {"quintain": __version__, "command": command}
    for name, value in words.items():
        if name in PRESENTATION:
            continue
        option = f"--{name.replace('_', '-')}"
        found[option] = _plain(value)
        path = named_path(str(value)) if name in CONTENTS | DATES else None
        if path is not None and name in CONTENTS:
            found |= _contents(option, path)
        elif path is not None:
            found |= _dates(option, path)
    return found


def current_contents() -> dict[str, str]:
    """Return the hashes of the files of the model that the command names, by option."""
    _, words = _COMMAND.get()
    found: dict[str, str] = {}
    for name in ("model", "weights"):
        path = named_path(str(words[name])) if words.get(name) else None
        if path is not None:
            found |= _contents(f"--{name}", path)
    return found


def _contents(option: str, path: Path) -> dict[str, str]:
    """Return the hash of a file that an option names, with what it imports, and of what belongs to it."""
    path = path / ADVERSARIAL_FILE if path.is_dir() else path
    digest = source_hash if path.suffix == ".py" else sha256_file
    found = {f"content of {option}": digest(path) if path.is_file() else ""}
    for beside in (Path(f"{path}{ending}") for ending in ONNX_DATA):
        if path.suffix == ".onnx" and beside.is_file():
            found[f"content of {beside.name}"] = sha256_file(beside)
    return found


def _dates(option: str, path: Path) -> dict[str, object]:
    """Return when a file or a folder was last changed, and one hash of each file's name, size and date."""
    inside = sorted(path.rglob("*")) if path.is_dir() else []
    stats = {one: one.stat() for one in (path, *inside) if one.exists()}
    files = [
        [one.relative_to(path).as_posix(), stat.st_size, stat.st_mtime_ns]
        for one, stat in stats.items()
        if not S_ISDIR(stat.st_mode)
    ]
    return {
        f"last change of {option}": max(stat.st_mtime_ns for stat in stats.values()),
        f"names, sizes and dates of {option}": sha256(json.dumps(files).encode()),
    }


def save_settings(folder: Path, settings: Mapping[str, object], examples: Mapping[str, object]) -> None:
    """Write the settings beside a result, with the net that was loaded.

    Args:
        folder: The run folder.
        settings: As ``current_settings`` gave them before the work.
        examples: How the examples were named.
    """
    if settings:
        loaded = _MODEL.get()
        own = {**settings, **({MODEL: loaded} if loaded else {}), EXAMPLES: dict(examples)}
        write_atomically(folder / RUN_SETTINGS_FILE, json.dumps(own, indent=1).encode() + b"\n")


class LoadedInputs(NamedTuple):
    """The model and examples that a finished run has loaded.

    Args:
        model: The options by which its net was loaded, and the net's hash; empty if it had none.
        examples: The options that named its examples; empty if they are not known.
    """

    model: dict[str, int | str]
    examples: dict[str, str | int | None]


def refuse_other_settings(out: Path) -> LoadedInputs:
    """Raise if a result was made by other settings than those of the command that runs.

    Returns:
        What the run of the result has loaded.

    Raises:
        RunFolderError: If so; the difference is named.
    """
    wanted = current_settings()
    place = out / RUN_SETTINGS_FILE
    try:
        found = json.loads(read_bytes(place))
        loaded = LoadedInputs(dict(found.pop(MODEL, {})), dict(found.pop(EXAMPLES, {})))
        differ = [
            f"{key} = {_text(found.get(key))}, now {_text(wanted.get(key))}"
            for key in {**found, **wanted}
            if found.get(key) != wanted.get(key)
        ]
    except (ValueError, AttributeError, TypeError):
        raise RunFolderError(f"{place} cannot be read; choose another --out, or delete {out}") from None
    if differ:
        raise RunFolderError(
            f"{out} holds the result of a run of other settings ({'; '.join(differ)}); use the same, or "
            "another --out"
        )
    return loaded


def has_same_data(folder: Path, data: str) -> bool:
    """Whether the run of a folder had the same ``--data``: the same bundled set, or files of the same names,
    sizes and dates. False, too, where its settings are not known.
    """
    try:
        found = json.loads(read_bytes(folder / RUN_SETTINGS_FILE))
        named, path = found.get("--data"), named_path(data)
    except (StorageError, ValueError, AttributeError):
        return False
    if path is None:
        return bool(named == data)
    now = _dates("--data", path)
    return all(found.get(key) == value for key, value in now.items())


def _plain(value: object) -> object:
    """Return a parameter as JSON has it."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _text(value: object) -> str:
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 else text


def input_paths(words: Mapping[str, object]) -> dict[str, Path]:
    """Return the files and folders that the parameters of a command name as its inputs, by parameter."""
    named = {
        name: named_path(str(words[name])) for name in sorted(CONTENTS | DATES | RUNS) if words.get(name)
    }
    return {name: path for name, path in named.items() if path is not None}
