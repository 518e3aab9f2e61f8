"""What the server saw in a round, kept so that it can be attacked and counted."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from quintain.federated.secagg import transcript
from quintain.federated.secagg.encoding import Words
from quintain.federated.secagg.keys import RoundKeys
from quintain.federated.secagg.messages import (
    Kind,
    Members,
    parse_delivery,
    parse_key_list,
    parse_set,
    parse_shares,
    parse_unmask,
    parse_words,
    server_body,
    site_body,
)
from quintain.federated.secagg.policy import Policy


@dataclass(frozen=True, slots=True)
class Letter:
    """One message: the site at the other end, by its index, what kind it is, and its bytes."""

    site: int
    kind: Kind
    data: bytes


@dataclass(frozen=True, slots=True)
class ServerView:
    """Everything that the server saw in a round: all that an attack from its place may use.

    Args:
        policy: The terms.
        sent: Its own messages, in order.
        received: What sites sent, as it arrived, late messages included.
    """

    policy: Policy
    sent: tuple[Letter, ...]
    received: tuple[Letter, ...]

    @property
    def bytes_up(self) -> dict[str, int]:
        """Bytes received, by site."""
        names = self.policy.roster.names
        return {name: sum(len(letter.data) for letter in self.received if letter.site == i) for i, name in enumerate(names)}

    @property
    def masked(self) -> dict[str, Words]:
        """The masked vectors (words,) by site: the only form in which the server ever meets one."""
        names, length = self.policy.roster.names, self.policy.encoding.words
        return {names[site]: parse_words(body, length) for site, body in self._received(Kind.MASKED)}

    def without_vectors(self) -> "ServerView":
        """The same without the masked vectors: small, and still all that an attack on a later round can use of this one."""
        return replace(self, received=tuple(letter for letter in self.received if letter.kind is not Kind.MASKED))

    @property
    def keys(self) -> dict[int, RoundKeys]:
        """The keys of the sites that took part, by index; empty if the round did not get that far."""
        listed = self._sent(Kind.KEY_LIST)
        return {} if listed is None else {i: entry.keys for i, entry in parse_key_list(server_body(listed.data), self._parties).items()}

    @property
    def sharing(self) -> Members:
        """Who shared."""
        delivery = self._sent(Kind.DELIVERY)
        return () if delivery is None else parse_delivery(server_body(delivery.data), delivery.site, self._parties)[0]

    @property
    def survivors(self) -> Members:
        """Whose vectors were added up."""
        named = self._sent(Kind.SURVIVORS)
        return () if named is None else parse_set(server_body(named.data), self._parties)

    @property
    def after_keys(self) -> bytes:
        """The transcript that shares and commitments are bound to; empty if the round did not get that far."""
        listed = self._sent(Kind.KEY_LIST)
        return b"" if listed is None else transcript.with_keys(self.policy, server_body(listed.data))

    @property
    def link(self) -> bytes:
        """The transcript that the masks are bound to; empty if the round did not get that far."""
        return transcript.with_shares(self.after_keys, self.sharing, self._parties) if self.after_keys and self.sharing else b""

    @property
    def commitments(self) -> dict[int, bytes]:
        """The hash by which each sharing site committed to its self-mask seed, by index."""
        sharing = set(self.sharing)
        return {i: parse_shares(body, self._parties).commitment for i, body in self._received(Kind.SHARES) if i in sharing}

    @property
    def shares(self) -> dict[int, dict[int, int]]:
        """The shares that sites revealed, by the site that they are of and the point that they stand at."""
        found: dict[int, dict[int, int]] = {i: {} for i in self.sharing}
        for giver, body in self._received(Kind.UNMASK):
            for owner, value in parse_unmask(body, self.sharing).items():
                found[owner][giver + 1] = value
        return found

    @property
    def _parties(self) -> int:
        return len(self.policy.roster)

    def _sent(self, kind: Kind) -> Letter | None:
        return next((letter for letter in reversed(self.sent) if letter.kind is kind), None)

    def _received(self, kind: Kind) -> Iterator[tuple[int, bytes]]:
        return ((letter.site, site_body(letter.data)) for letter in self.received if letter.kind is kind)
