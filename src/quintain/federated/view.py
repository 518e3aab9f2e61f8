"""What the server saw in a round, kept so that it can be attacked and counted."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from quintain.core.errors import ProtocolError
from quintain.federated.revealed_secrets import reconstruct_secrets
from quintain.federated.secagg import transcript
from quintain.federated.secagg.encoding import EncodedVector
from quintain.federated.secagg.key_list import keys_by_peer, shared_part
from quintain.federated.secagg.keys import RoundKeys
from quintain.federated.secagg.mask_graph import MaskGraph, draw_graph
from quintain.federated.secagg.message_bodies import (
    SiteSet,
    parse_key_list,
    parse_keys,
    parse_set,
    parse_unmask,
    parse_vector,
    set_bytes,
)
from quintain.federated.secagg.messages import MessageType, masked_body, server_body, site_body
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.share_messages import DealtShares, parse_shares

K = TypeVar("K")
T = TypeVar("T")


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


@dataclass(frozen=True)
class ServerView:
    """Everything that the server saw in a round, which is all that an attack by the server may use.

    Messages of sites whose layout is wrong stand in the record, and nothing is read out of them. Of several
    from one site the first counts, as it does for the server.

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
    def all_masked_vectors(self) -> tuple[tuple[str, EncodedVector], ...]:
        """Every masked vector (num_words,) with its site, as far as they were kept, in order of arrival.

        Also those that the server refused, such as a second one of a site. It never sees a vector in another
        form.
        """
        names, length = self.policy.roster.names, self.policy.encoding.num_words
        return tuple(
            (names[site], vector)
            for site, vector in self._read(
                MessageType.MASKED, lambda letter: parse_vector(masked_body(letter.data), length)
            )
        )

    @property
    def masked_vectors(self) -> dict[str, EncodedVector]:
        """The masked vectors (num_words,) by site, as far as they were kept."""
        return _first_of_each(self.all_masked_vectors)

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
        listed = self._last_sent(MessageType.KEY_LIST)
        if listed is None:
            return {}
        sparse = self.policy.sparse_graph
        if sparse is None:
            entries = parse_key_list(server_body(listed.data), self._num_sites)
            return {i: entry.keys for i, entry in entries.items()}
        members = set(parse_set(server_body(listed.data)[: set_bytes(self._num_sites)], self._num_sites))
        sent = _first_of_each(
            self._read(
                MessageType.KEYS,
                lambda letter: parse_keys(
                    site_body(letter.data), letter.site, self._num_sites, sparse.degree
                ),
            )
        )
        return {i: keys_by_peer(self.graph, i, keys) for i, keys in sent.items() if i in members}

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
        delivery = self._last_sent(MessageType.DELIVERY)
        return (
            ()
            if delivery is None
            else parse_set(server_body(delivery.data)[: set_bytes(self._num_sites)], self._num_sites)
        )

    @property
    def survivors(self) -> SiteSet:
        """The sites whose vectors were added up (U3 of Bonawitz et al.)."""
        named = self._last_sent(MessageType.SURVIVORS)
        return () if named is None else parse_set(server_body(named.data), self._num_sites)

    @property
    def key_list_hash(self) -> bytes:
        """Return the transcript hash after the key list, or nothing before it.

        Shares and commitments are bound to this hash.
        """
        listed = self._last_sent(MessageType.KEY_LIST)
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
    def dealt_shares(self) -> dict[int, DealtShares]:
        """What each sharing site signed of the shares that it dealt, by index."""
        sharing = set(self.sharers)
        sent = _first_of_each(
            self._read(
                MessageType.SHARES, lambda letter: parse_shares(site_body(letter.data), self._num_sites)
            )
        )
        return {i: dealt for i, dealt in sent.items() if i in sharing}

    @property
    def commitments(self) -> dict[int, bytes]:
        """The hash by which each sharing site committed to its self-mask seed, by index."""
        return {i: dealt.commitment for i, dealt in self.dealt_shares.items()}

    @property
    def revealed_shares(self) -> tuple[tuple[int, int, int], ...]:
        """Every share that was revealed, true or not: whose secret it is of, by which site, its value."""
        sharers, graph = self.sharers, self.graph
        answers = self._read(
            MessageType.UNMASK,
            lambda letter: parse_unmask(site_body(letter.data), graph.near(letter.site, sharers)),
        )
        return tuple((owner, giver, value) for giver, answer in answers for owner, value in answer.items())

    @cached_property
    def revealed_secrets(self) -> dict[int, list[bytes]]:
        """The secrets of each site that revealed shares give, by index, its self-mask seed first."""
        return reconstruct_secrets(
            self.dealt_shares, self.revealed_shares, self.graph.threshold, self.key_list_hash
        )

    @property
    def all_revealed_secrets(self) -> frozenset[bytes]:
        """These secrets, whosever they are: a build may use one of them elsewhere again."""
        return frozenset(one for secrets in self.revealed_secrets.values() for one in secrets)

    @property
    def _num_sites(self) -> int:
        return len(self.policy.roster)

    def _last_sent(self, kind: MessageType) -> RecordedMessage | None:
        return next((letter for letter in reversed(self.sent) if letter.type is kind), None)

    def _read(self, kind: MessageType, parse: Callable[[RecordedMessage], T]) -> Iterator[tuple[int, T]]:
        """Yield what the messages of a type say, by site; those of a wrong layout say nothing."""
        for letter in self.received:
            if letter.type is not kind or letter.omitted_bytes:
                continue
            try:
                content = parse(letter)
            except ProtocolError:
                continue
            yield letter.site, content


def _first_of_each(pairs: Iterable[tuple[K, T]]) -> dict[K, T]:
    """Return the first value of each key."""
    found: dict[K, T] = {}
    for key, value in pairs:
        found.setdefault(key, value)
    return found
