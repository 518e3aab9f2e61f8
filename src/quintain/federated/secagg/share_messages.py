"""What carries shares: a site's message to all its holders, the delivery to one of them, and a complaint.

The signature of a SHARES message is over the root of a hash tree (``share_tree``), so that each holder can
check it from what the server gives it of the message.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from quintain.core.errors import ProtocolError
from quintain.federated.secagg.dealing import DEALT_BYTES, HASH_PAIR_BYTES, HolderShares, ShareHashes
from quintain.federated.secagg.mask_graph import MaskGraph
from quintain.federated.secagg.message_bodies import (
    SiteSet,
    pack_set,
    parse_set,
    set_bytes,
    split_entries,
    split_set_and_entries,
)
from quintain.federated.secagg.policy import HASH_BYTES
from quintain.federated.secagg.primitives import KEY_BYTES, SIGNATURE_BYTES, expect_length
from quintain.federated.secagg.share_tree import NODE_BYTES, Tree, build_tree, leaf_hash, path, root_from_path

_COMPLAINT = struct.Struct(f">I{KEY_BYTES}s")


@dataclass(frozen=True, slots=True)
class DealtShares:
    """The message by which a site shares its secrets.

    Args:
        commitment: The hash that commits it to its self-mask seed.
        own_hashes: The hashes of the shares that it keeps.
        dealt: By holder, what it deals the others.
    """

    commitment: bytes
    own_hashes: ShareHashes
    dealt: Mapping[int, HolderShares]

    def hashes(self, holder: int) -> ShareHashes:
        """Return the hashes of one holder's shares.

        Those that it keeps itself where ``holder`` is nobody that it dealt to.
        """
        return self.dealt[holder].hashes if holder in self.dealt else self.own_hashes

    def tree(self, dealer: int, graph: MaskGraph, depth: int) -> Tree:
        """Return the hash tree of what a site deals to its neighbors, and of what it keeps."""
        leaves = {
            graph.slot(dealer, holder): leaf_hash(holder, one.pack()) for holder, one in self.dealt.items()
        }
        leaves[graph.own_slot(dealer)] = leaf_hash(dealer, self.commitment + self.own_hashes.pack())
        return build_tree(leaves, depth)


@dataclass(frozen=True, slots=True)
class DeliveredShares:
    """The part of a dealer's message that one holder receives.

    Args:
        dealt: The holder's shares.
        path: Sibling hashes from these up to the root, as in ``share_tree.path``.
        signature: The dealer's signature of the root.
    """

    dealt: HolderShares
    path: bytes
    signature: bytes

    def pack(self) -> bytes:
        """The layout on the wire."""
        return self.dealt.pack() + self.path + self.signature

    def root(self, dealer: int, holder: int, graph: MaskGraph) -> bytes:
        """Return what the dealer signed, if this is what it dealt."""
        return root_from_path(leaf_hash(holder, self.dealt.pack()), graph.slot(dealer, holder), self.path)


@dataclass(frozen=True, slots=True)
class Complaint:
    """A site's word that what ``dealer`` dealt it is bad.

    The private channel key for this pair proves it.
    """

    dealer: int
    private: bytes = field(repr=False)


def pack_shares(sharing: DealtShares, num_sites: int) -> bytes:
    """A site's commitment, the hashes of its own shares, and what it deals, by holder."""
    members = tuple(sorted(sharing.dealt))
    dealt = b"".join(sharing.dealt[i].pack() for i in members)
    return sharing.commitment + sharing.own_hashes.pack() + pack_set(members, num_sites) + dealt


def parse_shares(body: bytes, num_sites: int) -> DealtShares:
    """Read ``pack_shares``' layout."""
    head = HASH_BYTES + HASH_PAIR_BYTES
    if len(body) < head:
        raise ProtocolError(f"a message of shares of {len(body)} bytes; expected at least {head}")
    members, entries = split_set_and_entries(body[head:], num_sites, DEALT_BYTES, "a message of shares")
    return DealtShares(
        body[:HASH_BYTES],
        ShareHashes.parse(body[HASH_BYTES:head]),
        dict(zip(members, map(HolderShares.parse, entries), strict=True)),
    )


def deliver(
    sharing: DealtShares, tree: Tree, signature: bytes, dealer: int, holder: int, graph: MaskGraph
) -> DeliveredShares:
    """Return one holder's part of a dealer's message."""
    return DeliveredShares(sharing.dealt[holder], path(tree, graph.slot(dealer, holder)), signature)


def pack_delivery(
    delivered: Mapping[int, DeliveredShares], members: SiteSet, receiver: int, num_sites: int
) -> bytes:
    """Who has shared, and what each of them that has dealt something to one receiver did."""
    return pack_set(members, num_sites) + b"".join(
        delivered[i].pack() for i in members if i != receiver and i in delivered
    )


def parse_delivery(
    body: bytes, receiver: int, num_sites: int, depth: int, neighbors: SiteSet | None = None
) -> tuple[SiteSet, dict[int, DeliveredShares]]:
    """The sharing sites, and what they dealt this receiver, by dealer.

    Where only its neighbors deal to it they are given.
    """
    members = parse_set(body[: set_bytes(num_sites)], num_sites)
    dealers = set(members if neighbors is None else neighbors) - {receiver}
    senders = tuple(i for i in members if i in dealers)
    size = DEALT_BYTES + depth * NODE_BYTES + SIGNATURE_BYTES
    entries = split_entries(body[set_bytes(num_sites) :], len(senders), size, "a delivery")
    return members, {
        sender: DeliveredShares(
            HolderShares.parse(entry[:DEALT_BYTES]),
            entry[DEALT_BYTES:-SIGNATURE_BYTES],
            entry[-SIGNATURE_BYTES:],
        )
        for sender, entry in zip(senders, entries, strict=True)
    }


def pack_complaint(complaint: Complaint) -> bytes:
    """Of whom a site complains, and its private key for this pair."""
    return _COMPLAINT.pack(complaint.dealer, complaint.private)


def parse_complaint(body: bytes) -> Complaint:
    """Read ``pack_complaint``'s layout."""
    expect_length(body, _COMPLAINT.size, "a complaint")
    return Complaint(*_COMPLAINT.unpack(body))
