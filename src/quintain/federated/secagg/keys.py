"""Signing identities, the roster that pins them, and the fresh keys of a site in each round."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from quintain.core.errors import ProtocolError, SettingError
from quintain.federated.secagg.primitives import (
    KEY_BYTES,
    ed25519_public,
    is_on_curve,
    is_small_order,
    load_ed25519,
    sign,
    tagged_hash,
    x25519_public,
)
from quintain.federated.secagg.secret import Secret
from quintain.federated.secagg.setting_types import check_types
from quintain.federated.secagg.shamir import Entropy, random_bytes


@dataclass(frozen=True, slots=True)
class Identity:
    """A site's long-lived Ed25519 key; its public half stands in everybody's roster.

    Raises:
        SettingError: If a part is of another type.
        ProtocolError: If the two halves do not belong together: all that it signs would be refused.
    """

    name: str
    public: bytes
    private: Secret = field(repr=False)
    _signing: Ed25519PrivateKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_types(str, name=self.name)
        check_types(bytes, public=self.public)
        private: object = self.private
        if not isinstance(private, Secret):
            raise SettingError(
                f"private is of type {type(private).__name__}; expected a Secret, which is not shown here"
            )
        signing = load_ed25519(self.private.peek()) if len(self.private.peek()) == KEY_BYTES else None
        if signing is None or signing.public_key().public_bytes_raw() != self.public:
            raise ProtocolError(
                f"the two halves of the identity of {self.name!r} do not belong together; load them anew, or "
                "enroll again"
            )
        # loaded once: that costs as much as a signature
        object.__setattr__(self, "_signing", signing)

    def sign(self, message: bytes) -> bytes:
        """Return its Ed25519 signature on a message, 64 bytes."""
        return sign(self._signing, message)

    @classmethod
    def create(cls, name: str, entropy: Entropy = secrets.token_bytes) -> "Identity":
        """A new identity."""
        private = random_bytes(entropy, KEY_BYTES)
        return cls(name, ed25519_public(private), Secret(private))


@dataclass(frozen=True)
class Roster:
    """The sites of a federation and their signing keys, pinned by every one of them before the first round.

    Args:
        names: Distinct names, in the order that fixes every site's index.
        keys: Ed25519 public keys, 32 bytes each, distinct.
        version: 1 for the first roster of a federation, one more for each that follows it.
        revoked: Name and key of who signs no more: a site that has left, or one that has another key by now.
        previous: Digest of the roster before this one; empty in version 1.

    Raises:
        SettingError: If names or keys repeat or do not pair up, fewer than two sites are listed, a member's
            key is revoked, or the version and the roster before it do not fit.
        ProtocolError: If a key is no point of the curve, so that its site could never sign, or of small
            order: under it one signature is valid for many messages.
    """

    names: tuple[str, ...]
    keys: tuple[bytes, ...]
    version: int = 1
    revoked: tuple[tuple[str, bytes], ...] = ()
    previous: bytes = b""

    def __post_init__(self) -> None:
        check_types(tuple, names=self.names, keys=self.keys, revoked=self.revoked)
        check_types(Integral, version=self.version)
        check_types(bytes, previous=self.previous)
        for name, key in (*zip(self.names, self.keys, strict=False), *self.revoked):
            check_types(str, name=name)
            check_types(bytes, key=key)
        if len(self.names) < 2 or len(self.names) != len(self.keys):
            raise SettingError(
                f"{len(self.names)} names and {len(self.keys)} keys; expected one key a site and at least "
                "two sites"
            )
        if len(set(self.names)) < len(self.names) or len(set(self.keys)) < len(self.keys):
            raise SettingError("a name or a key stands twice in the roster; expected every site once")
        for name, key in zip(self.names, self.keys, strict=True):
            if (
                len(key) != KEY_BYTES
                or is_small_order(key, signing=True)
                or not is_on_curve(key, signing=True)
            ):
                raise ProtocolError(
                    f"the signing key of {name!r} is not an ordinary Ed25519 key: 32 bytes, on the curve, "
                    "not of small order; ask that site for a new one"
                )
        self._check_revoked()
        self._check_version()

    def _check_revoked(self) -> None:
        """Refuse a revoked key that comes back, under whatever name, or stands twice."""
        first = {key: name for name, key in reversed(self.revoked)}
        for name, key in zip(self.names, self.keys, strict=True):
            if key in first:
                raise SettingError(
                    f"the key of {name!r} was revoked, as that of {first[key]!r}; expected a key that was "
                    "never revoked: let that site enroll anew"
                )
        if len(first) < len(self.revoked) or any(len(key) != KEY_BYTES for key in first):
            raise SettingError("a revoked key stands twice, or is not of 32 bytes; expected each once")

    def _check_version(self) -> None:
        length = 0 if self.version == 1 else len(tagged_hash("roster"))
        if self.version < 1 or len(self.previous) != length:
            raise SettingError(
                f"version = {self.version} of a roster, and a digest of {len(self.previous)} bytes of the "
                "roster before it; expected version 1 without one, or a later version with one of 32 bytes"
            )

    @classmethod
    def from_identities(cls, *identities: Identity) -> "Roster":
        """Make the roster of some identities."""
        for one in identities:
            check_types(Identity, identity=one)
        return cls(tuple(one.name for one in identities), tuple(one.public for one in identities))

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """A site's place.

        Raises:
            SettingError: If it is not listed.
        """
        if name not in self.names:
            raise SettingError(f"no site is called {name!r}; the roster lists {', '.join(self.names)}")
        return self.names.index(name)

    def index_of(self, identity: Identity) -> int:
        """A site's place, if the roster lists its very key.

        Raises:
            SettingError: If its name is not listed.
            ProtocolError: If another key is, or its key is revoked.
        """
        if any(key == identity.public for _, key in self.revoked):
            raise ProtocolError(
                f"version {self.version} of the roster revokes this key of {identity.name!r}; expected the "
                "identity that has taken its place: enroll anew if there is none"
            )
        index = self.index(identity.name)
        if self.keys[index] != identity.public:
            raise ProtocolError(
                f"the roster lists another key for {identity.name!r}; expected this site's own: enroll again"
            )
        return index

    def names_of(self, members: tuple[int, ...]) -> tuple[str, ...]:
        """Return the names of some indices."""
        return tuple(self.names[i] for i in members)

    @cached_property
    def digest(self) -> bytes:
        """A hash of all that it says: what its members sign, and what the next version names."""
        listed = (*zip(self.names, self.keys, strict=True), *self.revoked)
        return tagged_hash(
            "roster",
            str(int(self.version)).encode(),
            self.previous,
            str(len(self.names)).encode(),
            *(part for name, key in listed for part in (name.encode(), key)),
        )

    @property
    def members(self) -> bytes:
        """A hash of the keys alone: who takes part, under whatever names and in whatever order."""
        return tagged_hash("members", *sorted(self.keys))


@dataclass(frozen=True, slots=True)
class RoundKeys:
    """The X25519 public keys of one site in one round.

    Args:
        mask_public: Behind the masks that it shares with its peers.
        channel_public: By peer, behind the seals of the shares between the two: one a peer, so that one
            can be opened in a dispute.
    """

    mask_public: bytes
    channel_public: Mapping[int, bytes]

    @property
    def all(self) -> tuple[bytes, ...]:
        """Every key, the mask key first, then by peer."""
        return self.mask_public, *map(self.channel_public.__getitem__, sorted(self.channel_public))


def new_private_key(entropy: Entropy) -> Secret:
    """Make a private X25519 key for one round."""
    return Secret(random_bytes(entropy, KEY_BYTES))


def public_half(private: Secret) -> bytes:
    """The public key of a private X25519 key."""
    return x25519_public(private.peek())
