"""The files of an enrolled site: its identity, which nobody else may read, and the roster of all sites.

Both are TOML. A roster is only as good as the way on which it came: read the fingerprints to each other by
telephone before the first round (``fingerprint``).
"""

import os
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
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


def enroll(folder: Path, name: str) -> dict[str, bytes]:
    """Make a site's identity, and its line of the roster for the others.

    Args:
        folder: Gets ``identity.toml``, which stays here, and ``member.toml``.
        name: The site's name.

    Returns:
        Its public key by its name.

    Raises:
        StorageError: If an identity is there already, or a file cannot be written.
        SettingError: If the name is empty, or has a space at an end.
    """
    _check_name(name)
    identity = Identity.create(name)
    _make_folder(folder)
    save_identity(folder / "identity.toml", identity)
    _write(folder / "member.toml", _members({name: identity.public}))
    return {name: identity.public}


def write_roster(folder: Path, members: Sequence[Path]) -> Roster:
    """Write ``roster.toml`` from the files of all sites, in the order of their names.

    Sites that are given the files in another order write the same roster.

    Raises:
        SettingError: If a name or a key stands in two of them, if two names look alike or one has a space at
            an end, if they are fewer than two, or one holds more than its own site.
        ProtocolError: If a key is no ordinary one.
    """
    if len(members) < 2:
        raise SettingError(
            f"{len(members)} files of members; expected each site's member.toml, at least two sites: give "
            "--member once for each"
        )
    found = sorted(_load_member(path) for path in members)
    _check_distinct([name for name, _ in found])
    roster = Roster(tuple(name for name, _ in found), tuple(key for _, key in found))
    _make_folder(folder)
    save_roster(folder / "roster.toml", roster)
    return roster


def save_roster(path: Path, roster: Roster) -> None:
    """Write a roster.

    Raises:
        StorageError: If it cannot be written.
    """
    _write(path, _members(dict(zip(roster.names, roster.keys, strict=True))))


def load_roster(path: Path) -> Roster:
    """Read a roster.

    Raises:
        NotFoundError: If there is no such file.
        SettingError: If it is no roster.
        ProtocolError: If a key is no ordinary one.
    """
    members = _load_members(path)
    return Roster(tuple(name for name, _ in members), tuple(key for _, key in members))


def fingerprint(public: bytes) -> str:
    """Return six words to read out when keys are compared: 96 bits of the key's hash.

    Each word stands for 16 bits, in consonants and vowels that cannot be misheard easily.

    Source: Wilkerson, 2009, proquints, arXiv:0901.4016.
    """
    digest = tagged_hash("fingerprint", public)
    return "-".join(_word(int.from_bytes(digest[k : k + 2], "big")) for k in range(0, 12, 2))


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


def _word(bits: int) -> str:
    """Spell 16 bits: consonant, vowel, consonant, vowel, consonant, of 4, 2, 4, 2 and 4 bits."""
    consonants, vowels = "bdfghjklmnprstvz", "aiou"
    return (
        consonants[bits >> 12]
        + vowels[bits >> 10 & 3]
        + consonants[bits >> 6 & 15]
        + vowels[bits >> 4 & 3]
        + consonants[bits & 15]
    )


def _members(keys: Mapping[str, bytes]) -> str:
    """The tables of a roster."""
    tables = (
        f"[[member]]\nname = {_quoted(name)}\nkey = {_quoted(key.hex())}\n" for name, key in keys.items()
    )
    return "\n".join(tables)


def _load_members(path: Path) -> list[tuple[str, bytes]]:
    entries = read_toml(path)
    check_keys(path, entries, required={"member"})
    members = entries["member"]
    if not isinstance(members, list) or not members or not all(isinstance(one, dict) for one in members):
        raise SettingError(f"{path}: member = {members!r}; expected a table [[member]] for each site")
    for member in members:
        check_keys(path, member, required={"name", "key"})
    return [(_text(path, "name", member["name"]), _unhex(path, "key", member["key"])) for member in members]


def _load_member(path: Path) -> tuple[str, bytes]:
    """Read the one site of a ``member.toml``: a site brings no second one with it."""
    members = _load_members(path)
    if len(members) > 1:
        names = ", ".join(repr(name) for name, _ in members)
        raise SettingError(f"{path} lists {names}; expected one site in the file of each")
    name, key = members[0]
    try:
        _check_name(name)
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from None
    return name, key


def _check_name(name: str) -> None:
    """Refuse a name that is nothing to the eye, or one with something at its ends that nobody sees."""
    if not name.strip():
        raise SettingError("name is empty; expected the name of this site")
    if name != name.strip():
        raise SettingError(
            f"name = {name!a}; expected no space at an end, which nobody sees: {name.strip()!a}"
        )


def _check_distinct(names: Sequence[str]) -> None:
    """Refuse two names that people would take for one another.

    Letters of other alphabets that look the same are not found here: who shows a name shows its escapes too.
    """
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(_as_seen(name), name)
        if other != name:
            raise SettingError(
                f"the names {other!a} and {name!a} look alike; expected names that nobody takes for one "
                "another: let one of the sites enroll under another name"
            )


def _as_seen(name: str) -> str:
    """A name without case, widths, lengths of spaces, and what has no width at all."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return " ".join("".join(one for one in plain if unicodedata.category(one) != "Cf").split())


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {folder}: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


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
