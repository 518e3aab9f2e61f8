"""The files of an enrolled site: its identity, which nobody else may read, and the roster of all sites.

Both are TOML. A roster counts once every member has signed it. A signature does not say whose key the roster
lists: before they sign, members compare the fingerprints by telephone (``key_words.fingerprint``).
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from quintain.core.errors import ProtocolError, SettingError, StorageError
from quintain.federated.secagg.keys import Identity, Roster
from quintain.federated.secagg.primitives import tagged_hash, verify
from quintain.federated.secagg.secret import Secret
from quintain.federated.site_names import check_distinct, check_name
from quintain.federated.toml_files import (
    as_bytes,
    as_text,
    check_keys,
    quoted,
    read_tables,
    read_toml,
    table,
    write_toml,
)

FORBIDDEN_MODE = 0o077
"""Mode bits that a file with a secret must not have: all those of group and others."""


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
    text = "".join(f"{name} = {quoted(value)}\n" for name, value in entries.items())
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
    """Read the identity of a site, with its private key.

    Raises:
        NotFoundError: If there is no such file.
        SettingError: If others may read it, or it is no identity.
        ProtocolError: If its private key does not belong to its public key.
    """
    entries = read_toml(path)
    mode = path.stat().st_mode & 0o777
    if mode & FORBIDDEN_MODE:
        raise SettingError(
            f"the identity {path} has mode {mode:04o}; expected 0600, so that nobody else can sign for this "
            "site: others may have read it, so enroll again"
        )
    check_keys(path, entries, required={"name", "public", "private"})
    private = Secret(as_bytes(path, "private", entries["private"], show=False))
    return Identity(
        as_text(path, "name", entries["name"]), as_bytes(path, "public", entries["public"]), private
    )


def enroll(folder: Path, name: str) -> dict[str, bytes]:
    """Make a site's identity, and the entry of the roster that it gives to the others.

    Args:
        folder: Gets ``identity.toml``, which stays at the site, and ``member.toml`` for the others. If the
            identity of this name is there without ``member.toml``, only that file is written.
        name: The site's name.

    Returns:
        Its public key by its name.

    Raises:
        StorageError: If both files are there already, or a file cannot be written.
        SettingError: If the name is empty, or has a space at an end; if an identity of another name is there
            without ``member.toml``, or one that others may read.
        ProtocolError: If the private key of that identity does not belong to its public key.
    """
    check_name(name)
    identity_file, member_file = folder / "identity.toml", folder / "member.toml"
    if identity_file.exists() and not member_file.exists():
        identity = load_identity(identity_file)
        if identity.name != name:
            raise SettingError(
                f"{identity_file} is the identity of {identity.name!a}, and {name!a} is asked for; expected "
                "that name, whose member.toml is written then, or another folder with --to"
            )
    else:
        identity = Identity.create(name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make the folder {folder}: {error.strerror}") from error
        save_identity(identity_file, identity)
    write_toml(member_file, table("member", "key", name, identity.public))
    return {name: identity.public}


@dataclass(frozen=True, slots=True)
class SignedRoster:
    """A roster and the signatures under it, perhaps not yet those of all members.

    Args:
        roster: The roster.
        signatures: Ed25519 signatures of the roster's digest, by the member's name. The digest covers its
            version, members, revoked keys, and the digest of the roster before it.

    Raises:
        SettingError: If a signature is not by the key that the roster lists for its name.
    """

    roster: Roster
    signatures: Mapping[str, bytes]

    def __post_init__(self) -> None:
        keys = dict(zip(self.roster.names, self.roster.keys, strict=True))
        statement = _statement(self.roster)
        invalid = [
            name
            for name, signature in self.signatures.items()
            if name not in keys or not verify(keys[name], statement, signature)
        ]
        if invalid:
            raise SettingError(
                f"the signature of {_join_escaped(invalid)} does not hold for version {self.roster.version} "
                "of the roster; expected one by the key that it lists: somebody has changed the roster, so "
                "write it anew, and compare the words of all keys before signing"
            )

    @property
    def unsigned(self) -> tuple[str, ...]:
        """The names of the members who have not signed yet."""
        return tuple(name for name in self.roster.names if name not in self.signatures)

    def sign(self, *identities: Identity) -> "SignedRoster":
        """Return the roster with the signatures of these members added.

        Raises:
            SettingError: If the roster does not list an identity, or lists another key for it.
        """
        for one in identities:
            try:
                self.roster.index_of(one)
            except ProtocolError as error:
                raise SettingError(str(error)) from None
        statement = _statement(self.roster)
        new = {one.name: one.sign(statement) for one in identities}
        return SignedRoster(self.roster, {**self.signatures, **new})


def read_roster(path: Path) -> SignedRoster:
    """Read a roster that may still lack signatures, to sign it; ``load_roster`` is for all other uses.

    Raises:
        NotFoundError: If there is no such file.
        SettingError: If it is no roster, or a signature is invalid.
    """
    entries = read_toml(path)
    check_keys(path, entries, required={"version", "member"}, optional={"previous", "revoked", "signature"})
    members = read_members(path, entries)
    version, previous = entries["version"], as_bytes(path, "previous", entries.get("previous", ""))
    revoked = read_tables(path, entries, "revoked", "key")
    signatures = read_tables(path, entries, "signature", "signature")
    if not isinstance(version, int):
        raise SettingError(f"{path}: version = {version!r}; expected a whole number from 1 on")
    if len(dict(signatures)) < len(signatures):
        raise SettingError(f"{path}: a site has signed twice; expected one signature of each: write it anew")
    try:
        check_distinct((*(name for name, _ in members), *(name for name, _ in revoked)))
        roster = Roster(
            names=tuple(name for name, _ in members),
            keys=tuple(key for _, key in members),
            version=version,
            revoked=tuple(revoked),
            previous=previous,
        )
        return SignedRoster(roster, dict(signatures))
    except (SettingError, ProtocolError) as error:
        raise SettingError(f"{path}: {error}") from None


def load_roster(path: Path) -> Roster:
    """Read a roster that all its members have signed.

    Raises:
        NotFoundError: If there is no such file.
        SettingError: If it is no roster, a signature is invalid, or members have not signed it.
    """
    return read_signed_roster(path).roster


def read_signed_roster(path: Path) -> SignedRoster:
    """Read a roster that all its members have signed, with the signatures.

    Raises:
        NotFoundError: If there is no such file.
        SettingError: If it is no roster, a signature is invalid, or members have not signed it.
    """
    signed = read_roster(path)
    if signed.unsigned:
        raise SettingError(
            f"{path}: {_join_escaped(signed.unsigned)} of {len(signed.roster)} members have not signed "
            f"version {signed.roster.version} of the roster; expected all signatures: at each of them run "
            "'quintain enroll --sign' on it"
        )
    return signed


def save_roster(path: Path, roster: Roster, identities: Iterable[Identity]) -> None:
    """Sign a roster by ``identities`` and write it; ``load_roster`` reads it once all members have signed.

    Raises:
        SettingError: If an identity is no member's, or the file holds another roster.
        StorageError: If it cannot be written.
    """
    write_signatures(path, SignedRoster(roster, {}).sign(*identities))


def write_signatures(path: Path, signed: SignedRoster) -> SignedRoster:
    """Write a signed roster, and keep the signatures that its file has already.

    Returns:
        The roster with the signatures of both.

    Raises:
        SettingError: If the file holds another roster: it is not overwritten, since a site may be using it.
        StorageError: If it cannot be written.
    """
    if path.exists():
        stored = read_roster(path)
        if stored.roster != signed.roster:
            raise SettingError(
                f"{path} is another roster, version {stored.roster.version}; expected a free place for "
                f"version {signed.roster.version}: choose another folder with --to"
            )
        signed = SignedRoster(signed.roster, {**stored.signatures, **signed.signatures})
    roster = signed.roster
    head = f"version = {roster.version}\n"
    if roster.previous:
        head += f"previous = {quoted(roster.previous.hex())}\n"
    tables = (
        *(table("member", "key", *pair) for pair in zip(roster.names, roster.keys, strict=True)),
        *(table("revoked", "key", *pair) for pair in roster.revoked),
        *(
            table("signature", "signature", name, signed.signatures[name])
            for name in roster.names
            if name in signed.signatures
        ),
    )
    write_toml(path, "\n".join((head, *tables)))
    return signed


def read_members(path: Path, entries: Mapping[str, object]) -> list[tuple[str, bytes]]:
    """Read the names and keys of the sites that a file lists, at least one.

    Raises:
        SettingError: If they are not as expected, or a name has a space at an end.
    """
    members = read_tables(path, entries, "member", "key")
    if not members:
        raise SettingError(f"{path}: member = []; expected a table [[member]] for each site")
    for name, _ in members:
        try:
            check_name(name)
        except SettingError as error:
            raise SettingError(f"{path}: {error}") from None
    return members


def _statement(roster: Roster) -> bytes:
    """The bytes that members sign."""
    return tagged_hash("roster signature", roster.digest)


def _join_escaped(names: Iterable[str]) -> str:
    """Return names for a message, escaped, since other sites chose them."""
    return ", ".join(f"{name!a}" for name in names)
