"""The list of all keys of a round, which fixes the graph of masks, and what each site gets to see of it.

Where all pairs share masks, every site gets the keys of all. In a sparse graph a site has one channel key for
each neighbor that it may get, and does not know yet whom: the list then holds a hash of each site's keys, the
graph is drawn from the hash of that list, and a site gets the keys of its neighbors alone. The first channel
key is for the first neighbor in the roster's order, and so on, so that each pair still has keys of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from quintain.core.errors import ProtocolError
from quintain.federated.secagg import transcript
from quintain.federated.secagg.keys import RoundKeys
from quintain.federated.secagg.mask_graph import MaskGraph, draw_graph
from quintain.federated.secagg.message_bodies import (
    SignedKeys,
    SiteSet,
    pack_key_list,
    pack_keys,
    pack_set,
    parse_key_list,
    parse_keys,
    parse_set,
    set_bytes,
)
from quintain.federated.secagg.policy import HASH_BYTES, Policy
from quintain.federated.secagg.primitives import (
    KEY_BYTES,
    SIGNATURE_BYTES,
    expect_length,
    tagged_hash,
)


@dataclass(frozen=True, slots=True)
class KeyList:
    """The list of keys as one party sees it.

    Args:
        members: Who takes part (U1).
        transcript_hash: The transcript hash after it.
        graph: Who shares masks with whom.
        entries: Keys and signatures as they were sent: of all members, or of a site's neighbors.
        hashes: In a sparse graph, the hash of each member's keys.
    """

    members: SiteSet
    transcript_hash: bytes
    graph: MaskGraph
    entries: Mapping[int, SignedKeys]
    hashes: Mapping[int, bytes]

    @property
    def keys(self) -> dict[int, RoundKeys]:
        """The keys in the entries, channel keys by peer."""
        return {i: keys_by_peer(self.graph, i, entry.keys) for i, entry in self.entries.items()}


def pack_key_lists(policy: Policy, listed: Mapping[int, SignedKeys]) -> tuple[KeyList, dict[int, bytes]]:
    """Return the list as the server has it, and what each listed site gets of it."""
    num_sites = len(policy.roster)
    members = tuple(sorted(listed))
    if policy.sparse_graph is None:
        body = pack_key_list(listed, num_sites)
        graph = MaskGraph(num_sites, policy.threshold)
        return KeyList(members, transcript.append_keys(policy, body), graph, listed, {}), dict.fromkeys(
            listed, body
        )
    hashes = {i: keys_hash(i, listed[i].keys) for i in members}
    head = pack_set(members, num_sites) + b"".join(hashes.values())
    transcript_hash = transcript.append_keys(policy, head)
    graph = draw_graph(policy.sparse_graph, transcript_hash, num_sites)
    packed = {i: pack_keys(listed[i].keys) + listed[i].signature for i in members}
    bodies = {
        i: head + b"".join(packed[peer] for peer in graph.neighbors(i) if peer in packed) for i in members
    }
    return KeyList(members, transcript_hash, graph, listed, hashes), bodies


def read_key_list(policy: Policy, body: bytes, receiver: int) -> KeyList:
    """Read what a site got; signatures and its own keys are for the caller to check.

    Raises:
        ProtocolError: If it is malformed, or the keys of a neighbor are others than the list has.
    """
    num_sites, sparse = len(policy.roster), policy.sparse_graph
    if sparse is None:
        listed = parse_key_list(body, num_sites)
        graph = MaskGraph(num_sites, policy.threshold)
        return KeyList(tuple(listed), transcript.append_keys(policy, body), graph, listed, {})
    members, head = _parse_head(body, num_sites)
    hashes = dict(zip(members, _split(head[set_bytes(num_sites) :], HASH_BYTES), strict=True))
    transcript_hash = transcript.append_keys(policy, head)
    graph = draw_graph(sparse, transcript_hash, num_sites)
    peers = tuple(peer for peer in graph.neighbors(receiver) if peer in hashes)
    size = KEY_BYTES * (1 + sparse.degree) + SIGNATURE_BYTES
    expect_length(body[len(head) :], size * len(peers), "the keys of this site's neighbors")
    entries = {
        peer: SignedKeys(
            parse_keys(entry[:-SIGNATURE_BYTES], peer, num_sites, sparse.degree), entry[-SIGNATURE_BYTES:]
        )
        for peer, entry in zip(peers, _split(body[len(head) :], size), strict=True)
    }
    for peer, entry in entries.items():
        if keys_hash(peer, entry.keys) != hashes[peer]:
            raise ProtocolError(
                f"the keys of {policy.roster.names[peer]!r} have another hash than the list of keys; "
                "expected the keys that all sites are told of: leave this round"
            )
    return KeyList(members, transcript_hash, graph, entries, hashes)


def shared_part(policy: Policy, body: bytes) -> bytes:
    """Return what all sites get alike of a list of keys, to which the transcript is bound."""
    return body if policy.sparse_graph is None else _parse_head(body, len(policy.roster))[1]


def keys_hash(site: int, keys: RoundKeys) -> bytes:
    """The hash that stands for a site's keys in the list of a sparse graph."""
    return tagged_hash("site keys", site.to_bytes(4, "big"), pack_keys(keys))


def keys_by_peer(graph: MaskGraph, site: int, keys: RoundKeys) -> RoundKeys:
    """Return a site's keys, its channel keys by the neighbor that each is for."""
    if graph.is_complete:
        return keys
    peers = graph.neighbors(site)
    return RoundKeys(keys.mask_public, {peer: keys.channel_public[graph.slot(site, peer)] for peer in peers})


def _parse_head(body: bytes, num_sites: int) -> tuple[SiteSet, bytes]:
    members = parse_set(body[: set_bytes(num_sites)], num_sites)
    head = body[: set_bytes(num_sites) + HASH_BYTES * len(members)]
    expect_length(head, set_bytes(num_sites) + HASH_BYTES * len(members), "the hashes of all keys")
    return members, head


def _split(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]
