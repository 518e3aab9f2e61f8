"""TOML files of a site: what is not as expected in one is refused by its place in the file."""

import tomllib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

from quintain.core.errors import NotFoundError, SettingError, StorageError
from quintain.core.files import write_atomically


def read_toml(path: Path) -> Mapping[str, object]:
    """Read a TOML file.

    Raises:
        NotFoundError: If there is no such file.
        SettingError: If it is no TOML.
        StorageError: If it cannot be read.
    """
    try:
        # an editor may put a mark at the start
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise NotFoundError(f"no file {path}") from None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise SettingError(f"{path} is no TOML: {error}") from None


def read_text(path: Path) -> str:
    """Read a small text file.

    Raises:
        StorageError: If it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"cannot read {path}: {error}") from error


def write_toml(path: Path, text: str) -> None:
    """Write a TOML file that others may read; no reader ever sees half of it.

    Raises:
        StorageError: If it cannot be written; what was there before stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {path.parent}: {error.strerror}") from error
    try:
        write_atomically(path, text.encode())
    except StorageError as error:
        raise StorageError(
            f"cannot write {path}: {getattr(error.__cause__, 'strerror', error)}; free some space or choose "
            "another folder with --to"
        ) from error


def check_keys(
    path: Path,
    entries: Mapping[str, object],
    *,
    required: AbstractSet[str],
    optional: AbstractSet[str] = frozenset(),
) -> None:
    """Refuse a table that lacks a key or has one that means nothing.

    Raises:
        SettingError: Naming them.
    """
    missing, unknown = required - set(entries), set(entries) - required - optional
    if missing or unknown:
        raise SettingError(
            f"{path}: missing {', '.join(sorted(missing)) or 'nothing'}, unknown "
            f"{', '.join(sorted(unknown)) or 'nothing'}; expected {', '.join(sorted(required | optional))}"
        )


def quoted(text: str) -> str:
    """A TOML string; names may hold anything that UTF-8 can write."""
    escaped = "".join(
        letter if letter not in '"\\' and letter.isprintable() else f"\\U{ord(letter):08x}" for letter in text
    )
    return f'"{escaped}"'


def table(kind: str, label: str, name: str, data: bytes) -> str:
    """One of several tables of a kind that each give a name some bytes, under a label."""
    return f"[[{kind}]]\nname = {quoted(name)}\n{label} = {quoted(data.hex())}\n"


def read_tables(path: Path, entries: Mapping[str, object], kind: str, label: str) -> list[tuple[str, bytes]]:
    """Read all tables of a kind, as ``table`` writes them; none if the file has none.

    Raises:
        SettingError: If one is not as expected.
    """
    tables = entries.get(kind, [])
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise SettingError(f"{path}: {kind} = {tables!r}; expected a table [[{kind}]] for each site")
    for one in tables:
        check_keys(path, one, required={"name", label})
    return [(as_text(path, "name", one["name"]), as_bytes(path, label, one[label])) for one in tables]


def as_text(path: Path, name: str, value: object) -> str:
    """Return a value that is to be text.

    Raises:
        SettingError: If it is none.
    """
    if not isinstance(value, str):
        raise SettingError(f"{path}: {name} = {value!r}; expected text")
    return value


def as_bytes(path: Path, name: str, value: object, *, show: bool = True) -> bytes:
    """Return the bytes that a value's hexadecimal digits stand for.

    Args:
        path, name: Where it stands, for the message.
        value: The digits.
        show: Whether the message may show them.

    Raises:
        SettingError: If it is anything else.
    """
    try:
        if isinstance(value, str):
            return bytes.fromhex(value)
    except ValueError:
        pass
    raise SettingError(f"{path}: {name}{f' = {value!r}' if show else ''}; expected hexadecimal digits")
