"""The files of an enrolled site: its identity, which nobody else may read, and the roster of all sites.

Both are TOML. A roster is only as good as the way on which it came: read the fingerprints to each other by
telephone before the first round (``fingerprint``).
"""

import os
import tomllib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

from quintain.core.errors import NotFoundError, SettingError, StorageError
from quintain.federated.secagg.keys import Identity, Roster
from quintain.federated.secagg.primitives import tagged_hash
from quintain.federated.secagg.secret import Secret

FORBIDDEN_MODE = 0o077
"""What nobody but the owner may do with a file that holds a secret."""


def save_identity(path: Path, identity: Identity) -> None:
    """Write an identity to a new file that only its owner may read.

    Raises:
        StorageError: If the file is there or cannot be written: an identity is never overwritten.
    """
    entries = {
        "name": identity.name,
        "public": identity.public.hex(),
        "private": bytes(identity.private.peek()).hex(),
    }
    text = "".join(f"{name} = {_quoted(value)}\n" for name, value in entries.items())
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(
            f"cannot write the identity {path}: {error.strerror}; an identity is never overwritten, choose "
            "another place"
        ) from error


def load_identity(path: Path) -> Identity:
    """Read an identity.

    Raises:
        NotFoundError: If there is no such file.
        SettingError: If others may read it, or it is no identity.
        ProtocolError: If its two halves do not belong together.
    """
    entries = read_toml(path)
    mode = path.stat().st_mode & 0o777
    if mode & FORBIDDEN_MODE:
        raise SettingError(
            f"the identity {path} has mode {mode:04o}; expected 0600, so that nobody else can sign for this "
            "site: take it that others have read it, and enrol again"
        )
    check_keys(path, entries, required={"name", "public", "private"})
    private = Secret(_unhex(path, "private", entries["private"], show=False))
    return Identity(_text(path, "name", entries["name"]), _unhex(path, "public", entries["public"]), private)


def save_roster(path: Path, roster: Roster) -> None:
    """Write a roster.

    Raises:
        StorageError: If it cannot be written.
    """
    members = (
        f"\n[[member]]\nname = {_quoted(name)}\nkey = {_quoted(key.hex())}\n"
        for name, key in zip(roster.names, roster.keys, strict=True)
    )
    try:
        path.write_text("".join(members).lstrip("\n"), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write the roster {path}: {error.strerror}") from error


def load_roster(path: Path) -> Roster:
    """Read a roster.

    Raises:
        NotFoundError: If there is no such file.
        SettingError: If it is no roster.
        ProtocolError: If a key is no ordinary one.
    """
    entries = read_toml(path)
    check_keys(path, entries, required={"member"})
    members = entries["member"]
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        raise SettingError(f"{path}: member = {members!r}; expected a table [[member]] for each site")
    for member in members:
        check_keys(path, member, required={"name", "key"})
    return Roster(
        tuple(_text(path, "name", member["name"]) for member in members),
        tuple(_unhex(path, "key", member["key"]) for member in members),
    )


def fingerprint(public: bytes) -> str:
    """Return what is read out to compare a key: 80 bits of its hash in groups of four hexadecimal digits."""
    digits = tagged_hash("fingerprint", public).hex()[:20]
    return " ".join(digits[k : k + 4] for k in range(0, len(digits), 4))


def read_toml(path: Path) -> Mapping[str, object]:
    """Read a TOML file.

    Raises:
        NotFoundError: If there is no such file.
        SettingError: If it is no TOML.
        StorageError: If it cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"no file {path}") from None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise SettingError(f"{path} is no TOML: {error}") from None


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


def _quoted(text: str) -> str:
    """A TOML string; names may hold anything that UTF-8 can write."""
    escaped = "".join(
        letter if letter not in '"\\' and letter.isprintable() else f"\\U{ord(letter):08x}" for letter in text
    )
    return f'"{escaped}"'


def _text(path: Path, name: str, value: object) -> str:
    if not isinstance(value, str):
        raise SettingError(f"{path}: {name} = {value!r}; expected text")
    return value


def _unhex(path: Path, name: str, value: object, *, show: bool = True) -> bytes:
    try:
        if isinstance(value, str):
            return bytes.fromhex(value)
    except ValueError:
        pass
    raise SettingError(f"{path}: {name}{f' = {value!r}' if show else ''}; expected hexadecimal digits")
