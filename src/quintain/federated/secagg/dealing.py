"""Shares from the site that deals them to the site that holds them: hashed, sealed, signed, and disputed.

A site deals each holder two shares, of its mask key and of its self-mask seed. It signs a hash of each and
the sealed pair, for all holders at once, by the root of a hash tree (``share_tree``), and a holder sees its
own part alone. Three rules follow, by which a liar is named and nobody else can be:

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

All this assumes that Ed25519 signatures are unforgeable, that SHA-256 collides for nobody, and that nobody
finds a second share with the 24-byte hash of a given one. Should a dealer find two shares with one hash, then
an honest holder still reveals the one that it was dealt; and where a holder that sides with the dealer
reveals the other, what does not fit the commitment is put down to the dealer. The hash of a share hides it
since a share is uniform over 2^256 values.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from quintain.core.errors import ProtocolError
from quintain.federated.secagg.keys import RoundKeys
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.primitives import (
    KEY_BYTES,
    TAG_BYTES,
    derive_key,
    expect_length,
    seal,
    tagged_hash,
    unseal,
    x25519,
    x25519_public,
)
from quintain.federated.secagg.shamir import PRIME, SHARE_BYTES

SHARE_HASH_BYTES = 24
"""Bytes of a share's hash. Second preimages cost 2^192; a collision, at 2^96, helps no dealer: see above."""

HASH_PAIR_BYTES = 2 * SHARE_HASH_BYTES
SEALED_BYTES = 2 * SHARE_BYTES + TAG_BYTES
DEALT_BYTES = HASH_PAIR_BYTES + SEALED_BYTES

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

    def pack(self) -> bytes:
        """The layout on the wire."""
        return self.key + self.seed

    @classmethod
    def parse(cls, data: bytes) -> "ShareHashes":
        """Read ``pack``'s layout."""
        expect_length(data, HASH_PAIR_BYTES, "a pair of hashes")
        return cls(data[:SHARE_HASH_BYTES], data[SHARE_HASH_BYTES:])


@dataclass(frozen=True, slots=True)
class HolderShares:
    """The shares that a dealer sends one holder: their hashes, and the sealed shares."""

    hashes: ShareHashes
    sealed: bytes

    def pack(self) -> bytes:
        """Return the bytes on the wire."""
        return self.hashes.pack() + self.sealed

    @classmethod
    def parse(cls, data: bytes) -> "HolderShares":
        """Read ``pack``'s layout."""
        expect_length(data, DEALT_BYTES, "a dealt pair of shares")
        return cls(ShareHashes.parse(data[:HASH_PAIR_BYTES]), data[HASH_PAIR_BYTES:])


def deal(transcript_hash: bytes, dealer: int, holder: int, key: bytes, pair: SharePair) -> HolderShares:
    """Hash one holder's shares, and seal them under ``key``.

    Dealer, holder and round stand in the context that the seal and its key are bound to.
    """
    hashes = ShareHashes.of_pair(transcript_hash, dealer, holder, pair)
    return HolderShares(hashes, seal(key, pack_pair(pair), channel_context(transcript_hash, dealer, holder)))


def open_dealt(
    policy: Policy, transcript_hash: bytes, dealer: int, holder: int, key: bytes, dealt: HolderShares
) -> SharePair:
    """The shares of a pair that is as it should be.

    Raises:
        ProtocolError: If it does not open, as if it was made for other sites or another round, lies outside
            the field, or has other hashes.
    """
    pair = unpack_pair(unseal(key, dealt.sealed, channel_context(transcript_hash, dealer, holder)))
    name = policy.roster.names[dealer]
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
    dealt: HolderShares,
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
    share = value.to_bytes(SHARE_BYTES, "big")
    return tagged_hash(label, transcript_hash, _number(dealer), _number(holder), share)[:SHARE_HASH_BYTES]


def seed_commitment(transcript_hash: bytes, site: int, seed: bytes | bytearray) -> bytes:
    """The hash that commits a site to its self-mask seed."""
    return tagged_hash("seed", transcript_hash, _number(site), bytes(seed))


def channel_context(transcript_hash: bytes, dealer: int, holder: int) -> bytes:
    """What the sealed shares from one site to another are bound to."""
    return tagged_hash("channel", transcript_hash, _number(dealer), _number(holder))


def channel_private(seed: bytes | bytearray, peer: int) -> bytes:
    """A site's private channel key for one peer: it tells nothing of those for the others."""
    return derive_key(seed, tagged_hash("channel key", _number(peer)), length=KEY_BYTES)


def channel_key(secret: bytes | memoryview, transcript_hash: bytes, dealer: int, holder: int) -> bytes:
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


def unpack_pair(data: bytes | bytearray | memoryview) -> SharePair:
    """Read ``pack_pair``'s layout."""
    data = memoryview(data)  # whose slices are no copies
    return int.from_bytes(data[:SHARE_BYTES], "big"), int.from_bytes(data[SHARE_BYTES:], "big")


def _number(site: int) -> bytes:
    return site.to_bytes(4, "big")
