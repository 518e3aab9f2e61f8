"""What the server saw in a round, kept so that it can be attacked and counted."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from quintain.federated.secagg import transcript
from quintain.federated.secagg.encoding import EncodedVector
from quintain.federated.secagg.key_list import keys_by_peer, shared_part
from quintain.federated.secagg.keys import RoundKeys
from quintain.federated.secagg.mask_graph import MaskGraph, draw_graph
from quintain.federated.secagg.messages import (
    MessageType,
    SiteSet,
    masked_body,
    parse_key_list,
    parse_keys,
    parse_set,
    parse_unmask,
    parse_vector,
    server_body,
    set_bytes,
    site_body,
)
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.share_messages import parse_shares


@dataclass(frozen=True, slots=True)
class RecordedMessage:
    """A recorded message: the index of the site at the other end, its type, and its bytes.

    The type is None where a site's message is none of secure aggregation. Of a vector beyond what a record
    keeps (``in_process.MAX_KEPT_BYTES``) there is only the number of its bytes.
    """

    site: int
    type: MessageType | None
    data: bytes
    omitted_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ServerView:
    """Everything that the server saw in a round, which is all that an attack by the server may use.

    Args:
        policy: The terms.
        sent: Its own messages, in order.
        received: What sites sent, as it arrived, late messages included.
    """

    policy: Policy
    sent: tuple[RecordedMessage, ...]
    received: tuple[RecordedMessage, ...]

    @property
    def bytes_uploaded(self) -> dict[str, int]:
        """Bytes received, by site."""
        names = self.policy.roster.names
        sizes = [0] * len(names)
        for letter in self.received:
            sizes[letter.site] += len(letter.data) + letter.omitted_bytes
        return dict(zip(names, sizes, strict=True))

    @property
    def masked_vectors(self) -> dict[str, EncodedVector]:
        """The masked vectors (num_words,) by site, as far as they were kept.

        The server never sees a vector in another form.
        """
        names, length = self.policy.roster.names, self.policy.encoding.num_words
        return {
            names[letter.site]: parse_vector(masked_body(letter.data), length)
            for letter in self._kept(MessageType.MASKED)
        }

    @property
    def num_masked_vectors(self) -> int:
        """How many sites sent a masked vector, whether or not it was kept."""
        return len({letter.site for letter in self.received if letter.type is MessageType.MASKED})

    def without_vectors(self) -> "ServerView":
        """Return the view without the masked vectors: small, and enough to attack a later round with."""
        return replace(
            self, received=tuple(letter for letter in self.received if letter.type is not MessageType.MASKED)
        )

    @property
    def keys(self) -> dict[int, RoundKeys]:
        """The keys of the sites that took part, by index; empty if the round did not get that far."""
        listed = self._sent(MessageType.KEY_LIST)
        if listed is None:
            return {}
        sparse = self.policy.sparse_graph
        if sparse is None:
            entries = parse_key_list(server_body(listed.data), self._num_sites)
            return {i: entry.keys for i, entry in entries.items()}
        members = set(parse_set(server_body(listed.data)[: set_bytes(self._num_sites)], self._num_sites))
        return {
            i: keys_by_peer(self.graph, i, parse_keys(body, i, self._num_sites, sparse.degree))
            for i, body in self._received(MessageType.KEYS)
            if i in members
        }

    @property
    def graph(self) -> MaskGraph:
        """Who shared masks with whom, once the keys were listed."""
        sparse = self.policy.sparse_graph
        if sparse is None or not self.key_list_hash:
            return MaskGraph(self._num_sites, self.policy.threshold)
        return draw_graph(sparse, self.key_list_hash, self._num_sites)

    @property
    def sharers(self) -> SiteSet:
        """The sites that shared their secrets (U2 of Bonawitz et al.)."""
        delivery = self._sent(MessageType.DELIVERY)
        return (
            ()
            if delivery is None
            else parse_set(server_body(delivery.data)[: set_bytes(self._num_sites)], self._num_sites)
        )

    @property
    def survivors(self) -> SiteSet:
        """The sites whose vectors were added up (U3 of Bonawitz et al.)."""
        named = self._sent(MessageType.SURVIVORS)
        return () if named is None else parse_set(server_body(named.data), self._num_sites)

    @property
    def key_list_hash(self) -> bytes:
        """Return the transcript hash after the key list, or nothing before it.

        Shares and commitments are bound to this hash.
        """
        listed = self._sent(MessageType.KEY_LIST)
        if listed is None:
            return b""
        return transcript.append_keys(self.policy, shared_part(self.policy, server_body(listed.data)))

    @property
    def transcript_hash(self) -> bytes:
        """The transcript hash after the sharers, to which the masks are bound; empty before them."""
        return (
            transcript.append_sharers(self.key_list_hash, self.sharers, self._num_sites)
            if self.key_list_hash and self.sharers
            else b""
        )

    @property
    def commitments(self) -> dict[int, bytes]:
        """The hash by which each sharing site committed to its self-mask seed, by index."""
        sharing = set(self.sharers)
        return {
            i: parse_shares(body, self._num_sites).commitment
            for i, body in self._received(MessageType.SHARES)
            if i in sharing
        }

    @property
    def shares(self) -> dict[int, dict[int, int]]:
        """The shares that sites revealed, by the site that they are of and the point that they stand at."""
        sharers, graph = self.sharers, self.graph
        shares: dict[int, dict[int, int]] = {i: {} for i in sharers}
        for giver, body in self._received(MessageType.UNMASK):
            for owner, value in parse_unmask(body, graph.near(giver, sharers)).items():
                shares[owner][giver + 1] = value
        return shares

    @property
    def _num_sites(self) -> int:
        return len(self.policy.roster)

    def _sent(self, kind: MessageType) -> RecordedMessage | None:
        return next((letter for letter in reversed(self.sent) if letter.type is kind), None)

    def _received(self, kind: MessageType) -> Iterator[tuple[int, bytes]]:
        return ((letter.site, site_body(letter.data)) for letter in self._kept(kind))

    def _kept(self, kind: MessageType) -> Iterator[RecordedMessage]:
        return (letter for letter in self.received if letter.type is kind and not letter.omitted_bytes)
