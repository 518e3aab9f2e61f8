"""Tables of settings files: each key is known, each value of its type, and errors name file and key."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Literal, get_args, get_origin

from quintain.core.errors import ProtocolError, SettingError, UnknownNameError, UsageError

MAX_SHOWN = 80
"""Characters of a wrong value that a message has."""

_EXPECTED: Mapping[object, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    list: "a list",
    dict: "a table",
    Path: "the path of a file or folder",
}


def read_table(
    path: Path,
    entries: object,
    kinds: Mapping[str, object],
    *,
    required: Collection[str] = (),
    table: str = "",
) -> dict[str, object]:
    """Return the values of a table, by key.

    Args:
        path: The file, for messages; paths in it are relative to its folder.
        entries: What stands in the file.
        kinds: Each known key to its type: ``int``, ``float``, ``str``, ``bool``, ``list``, ``dict``,
            ``Path``, a ``Literal``, or one of these ``| None``; ``object`` for what is checked elsewhere.
        required: Keys that must be there.
        table: The table's name, empty for the top of the file.

    Raises:
        SettingError: In one line with all keys that are unknown or missing, and all values of another type.
    """
    where = f"{path}: [{table}] " if table else f"{path}: "
    if not isinstance(entries, dict):
        raise SettingError(f"{path}: {table} = {entries!r}; expected a table [{table}]")
    problems = [f"{where}{UnknownNameError('key', key, kinds)}" for key in entries if key not in kinds]
    problems += [f"{where}{key} is missing" for key in sorted(set(required) - set(entries))]
    values: dict[str, object] = {}
    for key, kind in kinds.items():
        if key in entries:
            expected = _type_problem(entries[key], kind) or _if_too_large(entries[key])
            if expected:
                problems.append(f"{where}{key} = {_short_repr(entries[key])}; expected {expected}")
            else:
                values[key] = _convert(path, entries[key], kind)
    if problems:
        raise SettingError("; ".join(problems))
    return values


@contextmanager
def prefix_errors(path: Path, table: str = "") -> Iterator[None]:
    """Put the file's and the table's name before the message of an error about their values."""
    try:
        yield
    except (UsageError, ProtocolError) as error:
        where = f"{path}: [{table}]" if table else f"{path}:"
        raise SettingError(f"{where} {error}") from error


def place_of(path: Path, value: str) -> Path:
    """Return the whole path of what a settings file names, relative to its folder."""
    return (path.absolute().parent / Path(value).expanduser()).resolve()


def _type_problem(value: object, kind: object) -> str:
    """Return what is expected of a value; empty if the value is of that kind."""
    kinds = [one for one in get_args(kind) if one is not NoneType] if NoneType in get_args(kind) else [kind]
    (one,) = kinds
    if one is object:
        return ""
    if get_origin(one) is Literal:
        known = get_args(one)
        return "" if value in known else f"one of {', '.join(map(repr, known))}"
    if one is Path:
        return "" if isinstance(value, str) and value else _EXPECTED[Path]
    # true is no number here, though it is one in Python
    fits = type(value) is one or (one is float and type(value) is int)
    return "" if fits else _EXPECTED[one]


def _if_too_large(value: object) -> str:
    """Say what is expected of whole numbers beyond those that TOML promises; nothing if there are none."""
    numbers = value if isinstance(value, list) else [value]
    fits = all(-(2**63) <= one < 2**63 for one in numbers if isinstance(one, int))
    return "" if fits else "whole numbers of at most 64 bits, from -2^63 to below 2^63"


def _short_repr(value: object) -> str:
    """Return a value as the file has it, shortened if it is long."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(text)} characters)"


def _convert(path: Path, value: object, kind: object) -> object:
    if kind in (Path, Path | None):
        return place_of(path, str(value))
    if kind in (float, float | None) and isinstance(value, int):
        return float(value)
    return value
