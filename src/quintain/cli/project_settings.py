"""What a project states for every command, in the ``[tool.quintain]`` table of its ``pyproject.toml``."""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from quintain.core.errors import SettingError, UnknownNameError, UsageError
from quintain.results.requirements import Requirement
from quintain.results.verdict import UndecidedRule

FILE = "pyproject.toml"

TABLE = "quintain"
"""Name of the table below ``tool``."""

KEYS = ("require", "undecided")
"""Every key that the table may have."""

_MAX_LEVELS = 3
"""How deep tables are looked through for one that was meant to be ours."""

_PLACE_OF_TOML_ERROR = re.compile(r"(?P<what>.*) \(at (?:line (?P<line>\d+), column \d+|end of document)\)")


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """The settings of a project.

    Args:
        path: The file that states them; None where no file does.
        require: The requirements, each with its line.
        undecided: What an undecided requirement does to the exit code; None where that is not stated.
    """

    path: Path | None = None
    require: tuple[Requirement, ...] = ()
    undecided: UndecidedRule | None = None


def find_project_settings(folder: Path) -> ProjectSettings:
    """Return the settings of the nearest ``pyproject.toml`` with a ``[tool.quintain]`` table.

    The folder is looked through first, then its parents up to the root of the file system. No file on the
    way is passed over because it is broken: requirements that cannot be read must not vanish.

    Args:
        folder: Where to start.

    Raises:
        SettingError: If a file on the way cannot be read, its table has another name that is nearly this one,
            or the table has a key that is not known or a value of the wrong type.
    """
    start = folder.resolve()
    for place in (start, *start.parents):
        path = place / FILE
        text = _read(path)
        table = None if text is None else _table(text, path)
        if text is not None and table is not None:
            return _settings(table, path, text.splitlines())
    return ProjectSettings()


def sources_text(requirements: Sequence[Requirement], path: Path | None) -> str:
    """Return how many requirements a project's file states, and how many the command line beside it.

    Empty where there is neither a file nor a requirement.
    """
    own = sum(not one.path for one in requirements)
    if path is None:
        return f"{_count(own)} from --require" if own else ""
    return f"{_count(len(requirements) - own)} from {path}{f', {own} from --require' if own else ''}"


def _count(count: int) -> str:
    return f"{count} requirement{'s' * (count != 1)}"


def _read(path: Path) -> str | None:
    """Return the text of a file, None if there is no such file."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        if not path.is_symlink():
            return None
        raise SettingError(
            f"{path} is a link to nothing; correct or delete it, since it may state requirements"
        ) from None
    except IsADirectoryError:
        raise SettingError(
            f"{path} is a folder; expected a file: rename the folder, since requirements are looked for there"
        ) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SettingError(
            f"{path}, line {line}: byte {error.object[error.start]:#04x} is no UTF-8; save the file as UTF-8"
        ) from None
    except OSError as error:
        raise SettingError(
            f"{path} cannot be read: {error.strerror}; make it readable, since it may state requirements"
        ) from None


def _table(text: str, path: Path) -> Mapping[str, object] | None:
    """Return the table of a file, None if it has none."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _PLACE_OF_TOML_ERROR.fullmatch(str(error))
        what = found["what"] if found else str(error)
        line = int(found["line"]) if found and found["line"] else len(text.splitlines())
        raise SettingError(f"{path}, line {line}: no TOML: {what}; correct the file") from None
    lines = text.splitlines()
    for names in _find_misnamed(document):
        raise SettingError(
            f"{_place(path, lines, names[-1])}: [{'.'.join(names)}] is read by no tool; did you mean "
            f"[tool.{TABLE}]?"
        )
    tools = document.get("tool")
    loose = [key for key in KEYS if isinstance(tools, dict) and not isinstance(tools.get(key, {}), dict)]
    if loose:
        raise SettingError(
            f"{_place(path, lines, loose[0])}: [tool] has {loose[0]}, which is read by no tool; did you mean "
            f"{loose[0]} in [tool.{TABLE}]?"
        )
    if not isinstance(tools, dict) or TABLE not in tools:
        return None
    table = tools[TABLE]
    if not isinstance(table, dict):
        raise SettingError(
            f"{_place(path, lines, TABLE)}: tool.{TABLE} = {table!r}; expected a table "
            f"[tool.{TABLE}] with the keys {' and '.join(KEYS)}"
        )
    return table


def _find_misnamed(tables: Mapping[str, object], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the names of tables, down to the third level, that are meant for Quintain but misnamed.

    It is called nearly like ours, and stands where a tool's table or a section of the file does, or it begins
    like ours and states something under one of our keys. Others are none: what is called ``quintain`` among
    the scripts, the dependencies or the sources of a project is about the package.
    """
    for name, value in tables.items():
        names = (*above, name)
        if isinstance(value, list) and len(value) and isinstance(value[0], dict):
            value = value[0]  # an array of tables, with one bracket too many
        if not isinstance(value, dict) or names == ("tool", TABLE):
            continue
        folded = re.sub(r"[\W_]+", "", name.casefold())
        is_near = _is_nearly(folded, TABLE)
        is_section = len(above) < 2 and all(_is_nearly(part, "tool") for part in above)
        states = (is_near or folded.startswith(TABLE)) and value.keys() & {*KEYS}
        if states or (is_near and is_section):
            yield names
        elif len(names) < _MAX_LEVELS:
            yield from _find_misnamed(value, names)


def _is_nearly(name: str, meant: str) -> bool:
    """Whether a name is that which was meant, or nearly."""
    return bool(difflib.get_close_matches(name.casefold(), [meant], 1, 0.8))


def _settings(table: Mapping[str, object], path: Path, lines: Sequence[str]) -> ProjectSettings:
    """Return the settings that a table states."""
    for key in table:
        if key not in KEYS:
            trouble = UnknownNameError(f"key of [tool.{TABLE}]", key, KEYS)
            raise SettingError(f"{_place(path, lines, key)}: {trouble}")
    stated = table.get("require", [])
    if not isinstance(stated, list) or not all(isinstance(text, str) for text in stated):
        raise SettingError(
            f"{_place(path, lines, 'require')}: require = {stated!r}; expected a list of strings, such as "
            "require = ['robust_accuracy(linf:4/255) >= 0.70']"
        )
    undecided = table.get("undecided")
    if undecided not in (None, *get_args(UndecidedRule)):
        raise SettingError(
            f"{_place(path, lines, 'undecided')}: undecided = {undecided!r}; expected 'fail' or 'warn'"
        )
    require = tuple(_requirement(text, path, lines) for text in stated)
    return ProjectSettings(path, require, cast("UndecidedRule | None", undecided))


def _requirement(text: str, path: Path, lines: Sequence[str]) -> Requirement:
    """Return the requirement that a string of the file states."""
    try:
        return Requirement.state(text, path=str(path), line=_line(lines, text))
    except UsageError as error:
        raise SettingError(f"{_place(path, lines, text)}: {error}") from None


def _place(path: Path, lines: Sequence[str], text: str) -> str:
    """Return the file, with the line of a text where that is found."""
    line = _line(lines, text)
    return f"{path}, line {line}" if line else str(path)


def _line(lines: Sequence[str], text: str) -> int:
    """Return the first line, from 1 up, that holds a text and is no comment; 0 if there is none."""
    return next(
        (
            number
            for number, line in enumerate(lines, 1)
            if text and text in line and not line.lstrip().startswith("#")
        ),
        0,
    )
