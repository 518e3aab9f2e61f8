"""A roster over its life: the first one, its signatures, the next versions, and what a site has accepted.

A federation begins with version 1. Where a site joins, leaves or gets another key there is a next version,
which names the one before by its digest and lists for good the keys that sign no more. Each counts once all
its members have signed it: those who stay agree by that to who comes and goes.
"""

import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from quintain.core.errors import ProtocolError, SettingError, StorageError
from quintain.federated.enrollment import (
    SignedRoster,
    load_roster,
    read_members,
    read_roster,
    read_signed_roster,
    write_signatures,
)
from quintain.federated.secagg.keys import Identity, Roster
from quintain.federated.secagg.setting_types import check_types
from quintain.federated.site_names import check_distinct
from quintain.federated.toml_files import check_keys, read_toml

Revoked = tuple[tuple[str, bytes], ...]
_ACCEPTED = re.compile(r"roster-([1-9][0-9]*)\.toml")
_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def write_roster(folder: Path, members: Sequence[Path]) -> Roster:
    """Write version 1, unsigned, to ``roster.toml`` from the files of all sites, in the order of their names.

    Sites that are given the files in another order write the same roster.

    Raises:
        SettingError: If a name or a key stands in two of them, if two names look alike or one has a space at
            an end, if they are fewer than two, one holds more than its own site, a key is no ordinary one, or
            another roster is there.
    """
    if len(members) < 2:
        raise SettingError(
            f"{len(members)} files of members; expected each site's member.toml, at least two sites: give "
            "--member once for each"
        )
    return _write(folder, sorted(_load_member(path) for path in members))


def write_next_roster(
    folder: Path, last: Path, members: Sequence[Path] = (), revoke: Sequence[str] = ()
) -> Roster:
    """Write the version after a roster, unsigned, to ``roster.toml``.

    Args:
        folder: Where; not that of the last roster, which is in force until the next one is signed.
        last: A roster that all its members have signed.
        members: Files of sites that join, or that get another key: the one that they had is revoked.
        revoke: Names of sites that leave.

    Raises:
        NotFoundError: If a file is missing.
        SettingError: If nothing changes, a name is unknown, a site is to leave and to stay, a key was revoked
            before, or as ``write_roster``.
    """
    roster = load_roster(last)
    old, changed = dict(zip(roster.names, roster.keys, strict=True)), [_load_member(path) for path in members]
    for name in revoke:
        if name not in old or name in dict(changed):
            raise SettingError(
                f"--revoke {name!a}; expected the name of a member without a --member of its own, one of "
                f"{', '.join(f'{one!a}' for one in old)}: a --member revokes the key that it replaces"
            )
    if len(dict(changed)) < len(changed):
        raise SettingError("two --member of one name; expected one for each site that joins or has a new key")
    new = {name: key for name, key in {**old, **dict(changed)}.items() if name not in revoke}
    if new == old:
        raise SettingError(
            f"nothing changes from version {roster.version}; expected a --member that joins or has a new "
            "key, or a --revoke of one that leaves"
        )
    gone = sorted((name, key) for name, key in old.items() if new.get(name) != key)
    return _write(folder, sorted(new.items()), roster, (*roster.revoked, *gone))


def combine_rosters(folder: Path, copies: Sequence[Path]) -> SignedRoster:
    """Write ``roster.toml`` with the signatures of several copies of one roster.

    Raises:
        NotFoundError: If a copy is missing.
        SettingError: If they are different rosters, or one is none.
        StorageError: If it cannot be written.
    """
    first, *others = (read_roster(path) for path in copies)
    for path, one in zip(copies[1:], others, strict=True):
        if one.roster != first.roster:
            raise SettingError(
                f"{path} is another roster than {copies[0]}; expected copies of one: compare their versions "
                "and the words of their keys"
            )
        first = SignedRoster(first.roster, {**first.signatures, **one.signatures})
    return write_signatures(folder / "roster.toml", first)


def check_follows(last: Roster, roster: Roster) -> None:
    """Refuse a roster that is not a later version of one.

    Versions between the two may be missing: who was away signs and accepts the newest. Whose signatures are
    under it is not looked at here: a site accepts none that it has not signed itself (``accept_roster``).

    Raises:
        SettingError: If its version is no later one, if it follows another roster, or a key that signs no
            more is not revoked in it.
    """
    if roster.version <= last.version:
        this = "another" if roster.version == last.version else "the later"
        raise SettingError(
            f"version {roster.version} of the roster, and this site has accepted {this} version "
            f"{last.version}; expected that one, or a later one that was made from it: an old one lists "
            "keys that are revoked by now: ask the other sites for the newest"
        )
    if roster.version == last.version + 1 and roster.previous != last.digest:
        raise SettingError(
            f"version {roster.version} of the roster follows another version {last.version} than the one "
            "that this site has accepted; expected one made from that: compare the words of all keys with "
            "the other sites"
        )
    revoked = {key for _, key in roster.revoked}
    lost = {name for name, key in last.revoked if key not in revoked}
    lost |= {
        name for name, key in zip(last.names, last.keys, strict=True) if key not in {*revoked, *roster.keys}
    }
    if lost:
        raise SettingError(
            f"version {roster.version} of the roster does not revoke the old key of "
            f"{', '.join(f'{name!a}' for name in sorted(lost))}; expected every key that signs no more, for "
            "good: make it from the last version with 'quintain enroll --roster'"
        )


def accepted_folder(journal: Path, federation: str = "") -> Path:
    """Return where a site keeps the rosters that it has accepted, in its one journal.

    Args:
        journal: The site's own, one for life, whatever federations it is in.
        federation: The site's own name of this federation; empty where it is in one alone.

    Raises:
        SettingError: If the name cannot be a folder's.
    """
    check_types(str, federation=federation)
    if not federation:
        return journal
    if not _FOLDER_NAME.fullmatch(federation):
        raise SettingError(
            f"federation = {federation!r}; expected letters, digits, - and _, such as 'xrays-2'"
        )
    return journal / f"federation-{federation}"


def check_roster(path: Path, folder: Path, identity: Identity) -> SignedRoster:
    """Read a roster that this site could accept, as ``accept_roster`` does; nothing is kept.

    Raises:
        NotFoundError: If there is no such file.
        SettingError: As ``accept_roster``.
    """
    signed = read_signed_roster(path)
    try:
        last = last_accepted(folder)
        if last is not None and last != signed.roster:
            check_follows(last, signed.roster)
        signed.roster.index_of(identity)
    except (SettingError, ProtocolError) as error:
        raise SettingError(f"{path}: {error}") from None
    return signed


def accept_roster(path: Path, folder: Path, identity: Identity) -> Roster:
    """Read a roster that all have signed, and refuse one that goes back behind what this site has accepted.

    Signatures never end: a roster of last year is as well signed as it was then. So whoever can put a file in
    its place, or a backup, could bring back a site that has left or a key that was stolen and revoked since;
    the thief would sign as that site again. A site therefore keeps every version that it accepts, and refuses
    an older one, another one of the same version, one that follows another, and one in which a key is
    not revoked that was. That protects from the first acceptance on, as long as the folder lasts.

    No roster is accepted, and so kept, that does not list this site's very key: all members have signed a
    roster that counts, so this site is among them, and nobody can shut it out by a later one of other sites.

    Args:
        path: The roster.
        folder: Where this site keeps what it has accepted of this federation (``accepted_folder``); made if
            need be.
        identity: The site's own.

    Raises:
        NotFoundError: If there is no such file.
        SettingError: As ``load_roster``, if it does not list this site and its key, or does not follow what
            this site has accepted.
        StorageError: If the folder cannot be used.
    """
    check_roster(path, folder, identity)
    with _usable(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # two programs of a site accept one after the other
            signed = check_roster(path, folder, identity)
            if last_accepted(folder) != signed.roster:
                write_signatures(folder / f"roster-{signed.roster.version}.toml", signed)
                os.fsync(handle)
        finally:
            os.close(handle)
    return signed.roster


def last_accepted(folder: Path) -> Roster | None:
    """Return the newest roster that a site has accepted; None before the first.

    Raises:
        StorageError: If the folder cannot be read.
        SettingError: If what was kept in it is no signed roster.
    """
    with _usable(folder):
        names = [one.name for one in folder.iterdir()] if folder.exists() else []
    found = [match for one in names if (match := _ACCEPTED.fullmatch(one))]
    newest = max(found, key=lambda match: int(match[1]), default=None)
    return None if newest is None else load_roster(folder / newest[0])


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    """Name the folder where it cannot be used."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot keep the roster in {folder}: {error.strerror}; check its permissions"
        ) from error


def _write(
    folder: Path, members: list[tuple[str, bytes]], last: Roster | None = None, revoked: Revoked = ()
) -> Roster:
    """Write a roster that nobody has signed yet."""
    check_distinct(name for name, _ in (*members, *revoked))
    names, keys = tuple(name for name, _ in members), tuple(key for _, key in members)
    try:
        if last is None:
            roster = Roster(names, keys)
        else:
            roster = Roster(names, keys, last.version + 1, revoked, last.digest)
    except ProtocolError as error:
        raise SettingError(str(error)) from None
    write_signatures(folder / "roster.toml", SignedRoster(roster, {}))
    return roster


def _load_member(path: Path) -> tuple[str, bytes]:
    """Read the one site of a ``member.toml``: a site brings no second one with it."""
    entries = read_toml(path)
    check_keys(path, entries, required={"member"})
    members = read_members(path, entries)
    if len(members) > 1:
        names = ", ".join(repr(name) for name, _ in members)
        raise SettingError(f"{path} lists {names}; expected one site in the file of each")
    return members[0]
