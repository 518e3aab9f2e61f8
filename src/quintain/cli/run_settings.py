"""The settings of the command that runs, as they stand beside its result."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from quintain.core.errors import RunFolderError
from quintain.core.files import read_bytes, sha256_file, write_atomically
from quintain.results.run_layout import ADVERSARIAL_FILE, RUN_SETTINGS_FILE
from quintain.version import __version__

PRESENTATION = frozenset({"out", "require", "undecided", "json", "junit", "sarif", "summary"})
"""Parameters that change no result: where it goes, what is required of it, and how it is shown."""

CONTENTS = frozenset({"model", "weights", "source"})
"""Parameters that name files, which are compared by their content; a run folder by its adversarial examples,
which are all that is read of it and which name what they were made of.
"""

ONNX_DATA = (".data", "_data")
"""Endings that PyTorch and onnx give to a file of weights beside an ONNX file."""

MODEL = "model as loaded"
"""Key of how the model was loaded, and of its hash."""

DATES = frozenset({"data"})
"""Parameters that name files, which are compared by when they were last changed: a hash of private records
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
            path = path / ADVERSARIAL_FILE if path.is_dir() else path
            found[f"content of {option}"] = sha256_file(path) if path.is_file() else ""
            for beside in (Path(f"{path}{ending}") for ending in ONNX_DATA):
                if path.suffix == ".onnx" and beside.is_file():
                    found[f"content of {beside.name}"] = sha256_file(beside)
        elif path is not None:
            files = [path, *path.rglob("*")] if path.is_dir() else [path]
            found[f"last change of {option}"] = max(file.stat().st_mtime_ns for file in files)
    return found


def save_settings(folder: Path, settings: Mapping[str, object]) -> None:
    """Write the settings beside a result, with the net that was loaded."""
    if settings:
        loaded = _MODEL.get()
        text = json.dumps({**settings, MODEL: loaded} if loaded else settings, indent=1)
        write_atomically(folder / RUN_SETTINGS_FILE, text.encode() + b"\n")


def refuse_other_settings(out: Path) -> dict[str, int | str]:
    """Raise if a result was made by other settings than those of the command that runs.

    Returns:
        How the net of the result was loaded, with its hash; empty where it had none.

    Raises:
        RunFolderError: If so; the difference is named.
    """
    wanted = current_settings()
    place = out / RUN_SETTINGS_FILE
    try:
        found = json.loads(read_bytes(place))
        loaded = dict(found.pop(MODEL, {}))
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
    named = {name: named_path(str(words[name])) for name in sorted(CONTENTS | DATES) if words.get(name)}
    return {name: path for name, path in named.items() if path is not None}


def named_path(text: str) -> Path | None:
    """Return the file or the folder that a parameter names: ``net.py`` of ``net.py:make``, too."""
    rest = text.partition(":")[2]
    for name in (text, text.rpartition(":")[0], rest, rest.rpartition(":")[0]):
        if name and Path(name).exists():
            return Path(name)
    return None
