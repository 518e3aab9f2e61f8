"""The messages of the protocol: fixed layouts with length checks; all else is a ``ProtocolError``.

Every message starts with magic, kind, round id and sender. A site's message ends in its signature over the
transcript so far, the header and the body (of shares: the root of a hash tree over it, ``share_messages``).
Sets of sites are bit maps over the roster, so that no site can stand in one twice.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from quintain.core.errors import ProtocolError
from quintain.federated.secagg.encoding import WORD_DTYPE, EncodedVector
from quintain.federated.secagg.keys import Identity, RoundKeys
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.primitives import (
    KEY_BYTES,
    SIGNATURE_BYTES,
    are_ordinary,
    expect_length,
    is_on_curve,
    tagged_hash,
    verify,
)
from quintain.federated.secagg.shamir import SHARE_BYTES

MAGIC = b"QSA3"
SERVER_ID = 2**32 - 1
_HEADER = struct.Struct(">4sB16sI")
_OFFER = struct.Struct(">IIIIQdQQ32s32sQ32s32s32s32s32s")
_SPARSE = struct.Struct(">II")

SiteSet = tuple[int, ...]


class MessageType(IntEnum):
    """The type of a message, in the order of the round.

    The server sends even ones, a site replies with the next.

    The rounds of Bonawitz et al.: AdvertiseKeys is KEYS, KEY_LIST; ShareKeys is SHARES, DELIVERY;
    MaskedInputCollection is MASKED, SURVIVORS; ConsistencyCheck is CONSISTENCY, SIGNATURES; Unmasking is
    UNMASK. The sites that reached them: U1 have keys, U2 are the sharers, U3 the survivors. A site that was
    dealt a bad pair of shares answers the delivery with a complaint instead.
    """

    OFFER = 0
    KEYS = 1
    KEY_LIST = 2
    SHARES = 3
    DELIVERY = 4
    MASKED = 5
    SURVIVORS = 6
    CONSISTENCY = 7
    SIGNATURES = 8
    UNMASK = 9
    COMPLAINT = 11


_KINDS = frozenset(int(kind) for kind in MessageType)


@dataclass(frozen=True, slots=True)
class SignedKeys:
    """A site's keys for this round and its signature on them."""

    keys: RoundKeys
    signature: bytes


# -- envelopes
# ------------------------------------------------------------------------------------------------------------


def from_server(kind: MessageType, round_id: bytes, body: bytes) -> bytes:
    """A message of the server: it carries no signature, what counts in it is signed or sealed by sites."""
    return _HEADER.pack(MAGIC, kind, round_id, SERVER_ID) + body


def from_site(
    kind: MessageType,
    policy: Policy,
    site: int,
    body: bytes | memoryview,
    transcript_hash: bytes,
    identity: Identity,
    *,
    root: bytes | None = None,
) -> bytes:
    """A site's message with its signature, which is over the body, or over the root of its hash tree."""
    head = _HEADER.pack(MAGIC, kind, policy.round_id, site)
    signed = _signed(transcript_hash, head, body if root is None else root)
    return b"".join((head, body, identity.sign(signed)))


def open_server(data: bytes, kind: MessageType, policy: Policy) -> bytes:
    """The body of the server's message of this kind and round."""
    _check_head(data, kind, policy, SERVER_ID)
    return data[_HEADER.size :]


def open_site(
    data: bytes,
    kind: MessageType,
    policy: Policy,
    site: int,
    transcript_hash: bytes,
    *,
    root_of: Callable[[bytes], bytes] | None = None,
) -> tuple[bytes, bytes]:
    """Body and signature of a site's message, verified under its pinned identity and this transcript.

    Args:
        data: The message.
        kind: What it is to be.
        policy: The terms.
        site: Its sender.
        transcript_hash: So far.
        root_of: What the signature is over, where it is not the body itself: the root of its hash tree.
    """
    _check_site_head(data, kind, policy, site)
    body, signature = site_body(data), data[-SIGNATURE_BYTES:]
    signed = body if root_of is None else root_of(body)
    check_signature(kind, policy, site, signed, transcript_hash, signature)
    return body, signature


def open_masked(data: bytes, policy: Policy, site: int, transcript_hash: bytes) -> EncodedVector:
    """Return the vector (num_words,) of a MASKED message, verified as by ``open_site``, without a copy."""
    _check_site_head(data, MessageType.MASKED, policy, site)
    body = masked_body(data)
    check_signature(MessageType.MASKED, policy, site, body, transcript_hash, data[-SIGNATURE_BYTES:])
    return parse_vector(body, policy.encoding.num_words)


def check_signature(
    kind: MessageType,
    policy: Policy,
    site: int,
    body: bytes | memoryview,
    transcript_hash: bytes,
    signature: bytes,
) -> None:
    """Refuse a site's message unless its pinned identity signed exactly it.

    The signature is for this round and this transcript. Of shares it is over the root of their tree.
    """
    head = _HEADER.pack(MAGIC, kind, policy.round_id, site)
    if not verify(policy.roster.keys[site], _signed(transcript_hash, head, body), signature):
        raise ProtocolError(
            f"the signature of {policy.roster.names[site]!r} on its {kind.name} message does not hold for "
            "this round and its lists so far; expected one made with the key in the roster: leave this round"
        )


def message_type_of(data: object) -> MessageType:
    """What a message says it is."""
    if not isinstance(data, bytes):
        raise ProtocolError(f"a {type(data).__name__} that is no message of this protocol; expected bytes")
    if len(data) < _HEADER.size or data[:4] != MAGIC or data[4] not in _KINDS:
        raise ProtocolError(
            f"{len(data)} bytes that are no message of this protocol; expected the header {MAGIC!r} and a "
            "known kind"
        )
    return MessageType(data[4])


def server_body(data: bytes) -> bytes:
    """What follows the header in a message of the server, unchecked: for those who read a recorded round."""
    return data[_HEADER.size :]


def site_body(data: bytes) -> bytes:
    """What stands between the header and the signature in a message of a site, unchecked."""
    return data[_HEADER.size : -SIGNATURE_BYTES]


def masked_body(data: bytes) -> memoryview:
    """Return the body of a MASKED message as ``site_body`` does, without a copy of the vector."""
    return memoryview(data)[_HEADER.size : -SIGNATURE_BYTES]


# -- bodies
# ------------------------------------------------------------------------------------------------------------


def pack_offer(policy: Policy) -> bytes:
    """The terms that the server intends."""
    e = policy.encoding
    numbers = (
        len(policy.roster),
        policy.threshold,
        policy.min_survivors,
        policy.max_corrupt,
        e.length,
        e.clip_value,
        e.scale,
        e.max_weight,
    )
    task, graph = policy.task, policy.sparse_graph
    terms = _OFFER.pack(
        *numbers, policy.roster.digest, policy.model_hash, task.counter, *task.digests.values()
    )
    return terms if graph is None else terms + _SPARSE.pack(graph.degree, graph.threshold)


def check_offer(body: bytes, policy: Policy) -> None:
    """Refuse an offer that differs from this site's own policy, naming the first term that does."""
    own_terms = pack_offer(policy)
    expect_length(body, len(own_terms), "an offer")
    sizes = (
        "sites",
        "threshold",
        "min_survivors",
        "max_corrupt",
        "length",
        "clip_value",
        "scale",
        "max_weight",
    )
    names = (*sizes, "roster", "model hash", "round counter", *policy.task.digests)
    if policy.sparse_graph is not None:
        names = (*names, "neighbors", "neighbor threshold")
    different = {
        name: (got, own)
        for name, got, own in zip(names, _offered(body), _offered(own_terms), strict=True)
        if got != own
    }
    if not different:
        return
    name, (got, own) = next(iter(different.items()))
    shown = (got.hex()[:16], own.hex()[:16]) if isinstance(got, bytes) else (got, own)
    # with a roster of more or fewer sites the numbers before it differ as well
    roster = " for another roster" if "roster" in different and name != "roster" else ""
    raise ProtocolError(
        f"the server offers {name} = {shown[0]}{roster}; this site's policy says {shown[1]}: leave this round"
    )


def offered_counter(body: bytes) -> int:
    """The round's number in an offer, which no party can know beforehand; all else is for ``check_offer``."""
    if len(body) != _OFFER.size + _SPARSE.size:
        expect_length(body, _OFFER.size, "an offer")
    counter = int(_offered(body)[10])
    if counter >= 2**63:
        raise ProtocolError(f"an offer of round counter {counter}; expected less than 2^63: leave this round")
    return counter


def pack_keys(keys: RoundKeys) -> bytes:
    """Write a site's public keys: its mask key, then its channel keys, in order.

    There is one for each other site, or one for each neighbor that it may get in a sparse graph.
    """
    return b"".join(keys.all)


def parse_keys(body: bytes, site: int, num_sites: int, slots: int | None = None) -> RoundKeys:
    """Read X25519 keys: different from each other, of full order, each in its one canonical form.

    In a sparse graph there are so many ``slots`` of channel keys. Whether a key is a point of the curve costs
    a power a key and is the server's to ask of mask keys (``check_mask_key``).
    """
    places = [peer for peer in range(num_sites) if peer != site] if slots is None else list(range(slots))
    entries = split_entries(body, 1 + len(places), KEY_BYTES, "a site's keys")
    different = frozenset(entries)
    if len(different) < len(entries) or not are_ordinary(different):
        raise ProtocolError(
            "keys that are equal, of small order or not canonical; expected ordinary X25519 keys: exclude "
            "that site"
        )
    return RoundKeys(entries[0], dict(zip(places, entries[1:], strict=True)))


def check_mask_key(keys: RoundKeys) -> None:
    """Refuse a mask key off the curve, which no private key has.

    Shares of none could take its masks off a sum again. A channel key off the curve harms nobody but its own
    site, which could open no share, and no key off the curve tells anything of a peer's.
    """
    if not is_on_curve(keys.mask_public, signing=False):
        raise ProtocolError(
            "a mask key off the curve; expected the public half of a private key: exclude that site"
        )


def pack_key_list(listed: Mapping[int, SignedKeys], num_sites: int) -> bytes:
    """All keys of the round, in the roster's order."""
    members = tuple(sorted(listed))
    return pack_set(members, num_sites) + b"".join(
        pack_keys(listed[i].keys) + listed[i].signature for i in members
    )


def parse_key_list(body: bytes, num_sites: int) -> dict[int, SignedKeys]:
    """Read ``pack_key_list``'s layout; signatures are for the caller to check."""
    size = num_sites * KEY_BYTES
    members, entries = split_set_and_entries(body, num_sites, size + SIGNATURE_BYTES, "a key list")
    return {
        i: SignedKeys(parse_keys(entry[:size], i, num_sites), entry[size:])
        for i, entry in zip(members, entries, strict=True)
    }


def pack_vector(encoded: EncodedVector) -> bytes:
    """A vector, four bytes a word, little-endian."""
    return encoded.astype(WORD_DTYPE, copy=False).tobytes()


def parse_vector(body: bytes | memoryview, length: int) -> EncodedVector:
    """A vector of the agreed length (a read-only view of the message)."""
    expect_length(body, 4 * length, "a masked vector")
    return np.frombuffer(body, WORD_DTYPE)


def pack_signatures(signatures: Mapping[int, bytes], num_sites: int) -> bytes:
    """Who signed the list of survivors, with the signatures."""
    members = tuple(sorted(signatures))
    return pack_set(members, num_sites) + b"".join(signatures[i] for i in members)


def parse_signatures(body: bytes, num_sites: int) -> dict[int, bytes]:
    """Signatures on the list of survivors by site."""
    members, entries = split_set_and_entries(body, num_sites, SIGNATURE_BYTES, "a list of signatures")
    return dict(zip(members, entries, strict=True))


def pack_unmask(shares: Mapping[int, int]) -> bytes:
    """One share for each site that had shared, in order: of its seed if it survived, of its key if not."""
    return b"".join(shares[i].to_bytes(SHARE_BYTES, "big") for i in sorted(shares))


def parse_unmask(body: bytes, members: SiteSet) -> dict[int, int]:
    """Read ``pack_unmask``'s layout."""
    entries = split_entries(body, len(members), SHARE_BYTES, "an unmasking")
    return {i: int.from_bytes(entry, "big") for i, entry in zip(members, entries, strict=True)}


def set_bytes(num_sites: int) -> int:
    """Bytes of a set of sites."""
    return (num_sites + 7) // 8


def pack_set(members: SiteSet, num_sites: int) -> bytes:
    """A bit map, lowest index first."""
    return sum(1 << i for i in set(members)).to_bytes(set_bytes(num_sites), "little")


def parse_set(data: bytes, num_sites: int) -> SiteSet:
    """The sites of a bit map, in order."""
    expect_length(data, set_bytes(num_sites), "a set of sites")
    bits = int.from_bytes(data, "little")
    if bits >> num_sites:
        raise ProtocolError(
            f"a set names site {bits.bit_length() - 1}; the roster lists {num_sites}: leave this round"
        )
    return tuple(i for i in range(num_sites) if bits >> i & 1)


def _offered(body: bytes) -> tuple[Any, ...]:
    """The terms in an offer: those of every round, then those of a sparse graph where it has them."""
    terms = _OFFER.unpack(body[: _OFFER.size])
    return terms if len(body) == _OFFER.size else terms + _SPARSE.unpack(body[_OFFER.size :])


# -- lengths
# ------------------------------------------------------------------------------------------------------------


def _check_head(data: bytes, kind: MessageType, policy: Policy, sender: int) -> None:
    """Refuse what is no message of this kind, round and sender."""
    if message_type_of(data) is not kind:
        raise ProtocolError(
            f"got a {message_type_of(data).name} message; this step expects {kind.name}: send it in its turn"
        )
    _, _, round_id, claimed = _HEADER.unpack_from(data)
    if round_id != policy.round_id:
        raise ProtocolError(
            f"a message of round {round_id.hex()}; this is round {policy.round_id.hex()}: a replay is refused"
        )
    if claimed != sender:
        raise ProtocolError(
            f"a {kind.name} message in the name of sender {claimed}; expected {sender}: refuse it"
        )


def _check_site_head(data: bytes, kind: MessageType, policy: Policy, site: int) -> None:
    """Refuse what is no message of this kind, round and site, or too short for a signature."""
    _check_head(data, kind, policy, site)
    if len(data) < _HEADER.size + SIGNATURE_BYTES:
        raise ProtocolError(
            f"a {kind.name} message of {len(data)} bytes has no room for its signature; refuse it"
        )


def _signed(transcript_hash: bytes, head: bytes, body: bytes | memoryview) -> bytes:
    return tagged_hash("message", transcript_hash, head, body)


def split_set_and_entries(body: bytes, num_sites: int, size: int, what: str) -> tuple[SiteSet, list[bytes]]:
    """A set of sites, and an entry of this size for each of them."""
    members = parse_set(body[: set_bytes(num_sites)], num_sites)
    return members, split_entries(body[set_bytes(num_sites) :], len(members), size, what)


def split_entries(data: bytes, count: int, size: int, what: str) -> list[bytes]:
    """Cut bytes into so many entries of this size."""
    expect_length(data, count * size, what)
    return [data[k * size : (k + 1) * size] for k in range(count)]
