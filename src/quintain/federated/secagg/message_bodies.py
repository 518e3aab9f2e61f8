"""The bodies of messages: fixed layouts with length checks; all else is a ``ProtocolError``.

Sets of sites are bit maps over the roster, so that no site can stand in one twice.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from quintain.core.errors import ProtocolError
from quintain.federated.secagg.encoding import WORD_DTYPE, EncodedVector
from quintain.federated.secagg.keys import RoundKeys
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.primitives import (
    KEY_BYTES,
    SIGNATURE_BYTES,
    are_ordinary,
    expect_length,
    is_on_curve,
)
from quintain.federated.secagg.shamir import SHARE_BYTES

_OFFER = struct.Struct(">IIIIQdQQ32s32sQ32s32s32s32s32s")
_SPARSE = struct.Struct(">II")

SiteSet = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SignedKeys:
    """A site's keys for this round and its signature on them."""

    keys: RoundKeys
    signature: bytes


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
        for name, got, own in zip(names, _unpack_offer(body), _unpack_offer(own_terms), strict=True)
        if got != own
    }
    if not different:
        return
    name, (got, own) = next(iter(different.items()))
    texts = (got.hex()[:16], own.hex()[:16]) if isinstance(got, bytes) else (got, own)
    # with a roster of more or fewer sites the numbers before it differ as well
    roster = " for another roster" if "roster" in different and name != "roster" else ""
    raise ProtocolError(
        f"the server offers {name} = {texts[0]}{roster}; this site's policy says {texts[1]}: leave this round"
    )


def offered_counter(body: bytes) -> int:
    """The round's number in an offer, which no party can know beforehand; all else is for ``check_offer``."""
    if len(body) != _OFFER.size + _SPARSE.size:
        expect_length(body, _OFFER.size, "an offer")
    counter = int(_unpack_offer(body)[10])
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


def _unpack_offer(body: bytes) -> tuple[Any, ...]:
    """Return the terms of an offer: those of every round, then those of a sparse graph if it has one."""
    terms = _OFFER.unpack(body[: _OFFER.size])
    return terms if len(body) == _OFFER.size else terms + _SPARSE.unpack(body[_OFFER.size :])


def split_set_and_entries(body: bytes, num_sites: int, size: int, what: str) -> tuple[SiteSet, list[bytes]]:
    """A set of sites, and an entry of this size for each of them."""
    members = parse_set(body[: set_bytes(num_sites)], num_sites)
    return members, split_entries(body[set_bytes(num_sites) :], len(members), size, what)


def split_entries(data: bytes, count: int, size: int, what: str) -> list[bytes]:
    """Cut bytes into so many entries of this size."""
    expect_length(data, count * size, what)
    return [data[k * size : (k + 1) * size] for k in range(count)]
