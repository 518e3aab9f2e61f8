"""Shares from the site that deals them to the site that holds them: hashed, sealed, signed, and disputed.

A site deals each holder two shares, of its mask key and of its self-mask seed. It signs, for that holder
alone, a hash of each and the sealed pair. Three rules follow, by which a liar is named and nobody else can
be:

- The holder checks the signature, opens the seal, and checks both hashes. If the signature holds and the rest
  does not, the dealer is to blame, and the holder can prove it: sites have a separate X25519 key for each
  peer, so the holder reveals its private half for this one pair, anybody checks it against the public half
  that the holder had signed, derives the sealing key, and opens the pair again.
- A holder that complains of a good pair names itself the same way: what it reveals either does not fit its
  public half, or opens a pair that is as it should be. An honest holder never reveals a key on an honest
  dealer, whatever the server delivers, since it complains only of what the dealer signed; so a complaint
  tells nobody a share that a dishonest site did not know.
- A revealed share that has another hash than the dealer signed is its holder's lie, as an honest holder would
  have complained. If the shares with the right hashes do not give the secret that the dealer committed to, by
  its public mask key or by the hash of its seed, then the dealer dealt them falsely.

All this assumes that Ed25519 signatures are unforgeable and that SHA-256 collides for nobody. The hash of a
share hides it since a share is uniform over 2^256 values.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from quintain.core.errors import ProtocolError
from quintain.federated.secagg.keys import RoundKeys
from quintain.federated.secagg.policy import HASH_BYTES, ROUND_BYTES, Policy
from quintain.federated.secagg.primitives import (
    KEY_BYTES,
    SIGNATURE_BYTES,
    TAG_BYTES,
    derive_key,
    expect_length,
    seal,
    sign,
    tagged_hash,
    unseal,
    verify,
    x25519,
    x25519_public,
)
from quintain.federated.secagg.shamir import PRIME, SHARE_BYTES

_SHARE = struct.Struct(f">II{ROUND_BYTES}s{SHARE_BYTES}s{SHARE_BYTES}s")
SEALED_BYTES = _SHARE.size + TAG_BYTES
DEALT_BYTES = 2 * HASH_BYTES + SEALED_BYTES + SIGNATURE_BYTES

SharePair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ShareHashes:
    """The hashes of one holder's two shares."""

    key: bytes
    seed: bytes

    @classmethod
    def of_pair(cls, transcript_hash: bytes, dealer: int, holder: int, pair: SharePair) -> "ShareHashes":
        """Hash a pair (key share, seed share)."""
        return cls(
            share_hash("key share", transcript_hash, dealer, holder, pair[0]),
            share_hash("seed share", transcript_hash, dealer, holder, pair[1]),
        )


@dataclass(frozen=True, slots=True)
class SharesForHolder:
    """One site's shares for another, as they stand inside the seal.

    They are of its mask key and of its self-mask seed.
    """

    sender: int
    receiver: int
    round_id: bytes
    key_share: int = field(repr=False)
    seed_share: int = field(repr=False)

    def pack(self) -> bytes:
        """The layout inside the sealed text."""
        return _SHARE.pack(
            self.sender,
            self.receiver,
            self.round_id,
            self.key_share.to_bytes(SHARE_BYTES, "big"),
            self.seed_share.to_bytes(SHARE_BYTES, "big"),
        )

    @classmethod
    def parse(cls, data: bytes) -> "SharesForHolder":
        """Read ``pack``'s layout.

        A seal keeps it whole; its sender may still have filled it with anything.
        """
        expect_length(data, _SHARE.size, "a share")
        sender, receiver, round_id, key_share, seed_share = _SHARE.unpack(data)
        return cls(
            sender, receiver, round_id, int.from_bytes(key_share, "big"), int.from_bytes(seed_share, "big")
        )


@dataclass(frozen=True, slots=True)
class Dealt:
    """What a dealer sends one holder: hashes of its shares, the sealed shares, and a signature on both."""

    hashes: ShareHashes
    sealed: bytes
    signature: bytes

    def pack(self) -> bytes:
        """The layout on the wire."""
        return self.hashes.key + self.hashes.seed + self.sealed + self.signature

    @classmethod
    def parse(cls, data: bytes) -> "Dealt":
        """Read ``pack``'s layout."""
        expect_length(data, DEALT_BYTES, "a dealt pair of shares")
        hashes = ShareHashes(data[:HASH_BYTES], data[HASH_BYTES : 2 * HASH_BYTES])
        return cls(hashes, data[2 * HASH_BYTES : -SIGNATURE_BYTES], data[-SIGNATURE_BYTES:])


def deal(
    signing: Ed25519PrivateKey | bytes | bytearray,
    transcript_hash: bytes,
    dealer: int,
    holder: int,
    key: bytes,
    share: SharesForHolder,
) -> Dealt:
    """Hash, seal under ``key`` and sign one holder's shares."""
    hashes = ShareHashes.of_pair(transcript_hash, dealer, holder, (share.key_share, share.seed_share))
    context = channel_context(transcript_hash, dealer, holder)
    sealed = seal(key, share.pack(), context)
    return Dealt(hashes, sealed, sign(signing, _signed(context, hashes, sealed)))


def is_signed(policy: Policy, transcript_hash: bytes, dealer: int, holder: int, dealt: Dealt) -> bool:
    """Whether the dealer's pinned identity signed exactly this for this holder, in this round.

    The signature is over the list of keys, too.
    """
    return verify(
        policy.roster.keys[dealer],
        _signed(channel_context(transcript_hash, dealer, holder), dealt.hashes, dealt.sealed),
        dealt.signature,
    )


def open_dealt(
    policy: Policy, transcript_hash: bytes, dealer: int, holder: int, key: bytes, dealt: Dealt
) -> SharePair:
    """The shares of a pair that is as it should be.

    Raises:
        ProtocolError: If it does not open, names other sites or another round, lies outside the field, or has
            other hashes.
    """
    share = SharesForHolder.parse(unseal(key, dealt.sealed, channel_context(transcript_hash, dealer, holder)))
    name = policy.roster.names[dealer]
    if (share.sender, share.receiver, share.round_id) != (dealer, holder, policy.round_id):
        raise ProtocolError(f"the share that {name!r} sealed names another pair of sites or another round")
    pair = share.key_share, share.seed_share
    if max(pair) >= PRIME:
        raise ProtocolError(f"the share that {name!r} sealed lies outside the field")
    if ShareHashes.of_pair(transcript_hash, dealer, holder, pair) != dealt.hashes:
        raise ProtocolError(f"the share that {name!r} sealed has another hash than it signed")
    return pair


def is_guilty(
    policy: Policy,
    transcript_hash: bytes,
    keys: Mapping[int, RoundKeys],
    holder: int,
    dealer: int,
    private: bytes,
    dealt: Dealt,
) -> bool:
    """Judge a complaint: whether the dealer is to blame; if not, the holder is.

    Args:
        policy: The terms.
        transcript_hash: Of the messages up to the keys.
        keys: Everybody's public keys.
        holder: Who complains.
        dealer: Of whom.
        private: What the holder reveals: its private channel key for this dealer.
        dealt: What the dealer signed for this holder.
    """
    if x25519_public(private) != keys[holder].channel_public[dealer]:
        return False
    try:
        secret = x25519(private, keys[dealer].channel_public[holder])
        key = channel_key(secret, transcript_hash, dealer, holder)
        open_dealt(policy, transcript_hash, dealer, holder, key, dealt)
    except ProtocolError:
        return True
    return False


def share_hash(label: str, transcript_hash: bytes, dealer: int, holder: int, value: int) -> bytes:
    """The hash that stands for one share."""
    return tagged_hash(
        label, transcript_hash, _number(dealer), _number(holder), value.to_bytes(SHARE_BYTES, "big")
    )


def seed_commitment(transcript_hash: bytes, site: int, seed: bytes | bytearray) -> bytes:
    """The hash that commits a site to its self-mask seed."""
    return tagged_hash("seed", transcript_hash, _number(site), bytes(seed))


def channel_context(transcript_hash: bytes, dealer: int, holder: int) -> bytes:
    """What the sealed shares from one site to another are bound to."""
    return tagged_hash("channel", transcript_hash, _number(dealer), _number(holder))


def channel_private(seed: bytes | bytearray, peer: int) -> bytes:
    """A site's private channel key for one peer: it tells nothing of those for the others."""
    return derive_key(seed, tagged_hash("channel key", _number(peer)), length=KEY_BYTES)


def channel_key(secret: bytes | bytearray, transcript_hash: bytes, dealer: int, holder: int) -> bytes:
    """Return the key that seals what ``dealer`` sends ``holder``.

    Args:
        secret: The X25519 secret of the two sites' channel keys for each other.
        transcript_hash: Of the messages up to the keys.
        dealer: Who seals.
        holder: Who opens.
    """
    return derive_key(secret, channel_context(transcript_hash, dealer, holder))


def pack_pair(pair: SharePair) -> bytes:
    """Write a pair (key share, seed share)."""
    return b"".join(value.to_bytes(SHARE_BYTES, "big") for value in pair)


def unpack_pair(data: bytes | bytearray) -> SharePair:
    """Read ``pack_pair``'s layout."""
    return int.from_bytes(data[:SHARE_BYTES], "big"), int.from_bytes(data[SHARE_BYTES:], "big")


def _signed(context: bytes, hashes: ShareHashes, sealed: bytes) -> bytes:
    return tagged_hash("dealt", context, hashes.key, hashes.seed, sealed)


def _number(site: int) -> bytes:
    return site.to_bytes(4, "big")
