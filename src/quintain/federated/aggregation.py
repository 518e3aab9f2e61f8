"""What sums the clients' vectors in a round: one interface, by which server and clients choose it by name.

An aggregation has two halves that meet in bytes only. The client's half (``encode``, ``join``) is called
where the data is, the server's (``sum``) where the model is; each party makes its own object from its own
settings, and a client refuses a round of another aggregation by name. Whatever an aggregation adds to a
vector (noise) it adds in ``encode``, whose result the client keeps until the model moves: two versions of one
vector would subtract.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from quintain.federated.secagg.encoding import EncodedVector, Encoding
from quintain.federated.secagg.journal import Journal
from quintain.federated.secagg.keys import Identity
from quintain.federated.secagg.message_bodies import SiteSet
from quintain.federated.secagg.messages import MessageType
from quintain.federated.secagg.policy import Policy
from quintain.federated.transport import Exchange
from quintain.federated.view import ServerView


@dataclass(frozen=True, slots=True)
class RoundSum:
    """The sum of one round, as the server knows it.

    Args:
        integers: (encoding.num_words,) signed integers, exact.
        survivors: Whose vectors are in it, in the roster's order.
        dropped: All others in the roster.
        refused: Messages that did not hold up: site to reason.
        accused: Sites that are proven to have lied to the server.
    """

    integers: NDArray[np.int64] = field(repr=False)
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    accused: tuple[str, ...] = ()


class Participant(Protocol):
    """A client in one sum: it takes the server's messages in turn."""

    @property
    def survivors(self) -> SiteSet:
        """The sites that this one has signed to be in the sum, by index; empty while it has signed none."""

    def step(self, message: bytes) -> bytes:
        """Return the reply to a message of the server.

        Raises:
            ProtocolError: If the message is refused; nothing was revealed.
            StorageError: If the journal cannot be written; nothing was revealed.
        """


class Aggregation(ABC):
    """Sums one vector of each client; registered under the name by which both sides choose it.

    Attributes:
        name, summary, guarantee: As registered.
        sums_all: Whether there is one sum of all sites, and none of groups of them.
        hides_updates: Whether the server learns no single client's vector.
        stands_colluders: Whether that is so even where some sites side with it.
        sites_open_sums: Whether sites see the exact sum before the server does.
        replies: What a client's replies stand for, in order, by which dropouts are simulated: the vector is
            ``MASKED``.
    """

    kind: ClassVar[str] = "aggregation"
    name: ClassVar[str]
    summary: ClassVar[str]
    guarantee: ClassVar[str]
    hides_updates: ClassVar[bool]
    sums_all: ClassVar[bool] = True
    stands_colluders: ClassVar[bool] = False
    sites_open_sums: ClassVar[bool] = False
    replies: ClassVar[tuple[MessageType, ...]]

    @abstractmethod
    def join(
        self, policy: Policy, identity: Identity, encoded: EncodedVector, journal: Journal
    ) -> Participant:
        """Take part in a sum, at a client.

        Args:
            policy: The client's own terms.
            identity: Its signing key.
            encoded: (encoding.num_words,) its vector, as ``encode`` made it; not changed.
            journal: Its memory over all rounds.

        Raises:
            ProtocolError: If the vector does not fit, or the round was answered before.
        """

    @abstractmethod
    def sum(self, policy: Policy, transport: Exchange) -> RoundSum:
        """Run the server's half of a sum.

        Raises:
            ProtocolError: If there is no sum: the round is abandoned.
            SabotageError: A ``ProtocolError``: if sites are proven to have lied.
        """

    def encode(
        self, update: NDArray[np.float64], encoding: Encoding, relative_weight: float
    ) -> EncodedVector:
        """Encode an update, once for each model: clipped entry by entry, weighted, rounded to the grid.

        Args:
            update: (length,) the change of the weights by local training.
            encoding: Clip and grid.
            relative_weight: The site's public weight over the largest one, in (0, 1].

        Returns:
            (encoding.num_words,) words.
        """
        if relative_weight == 1:
            return encoding.quantize(update)
        clipped = np.clip(update, -encoding.clip_value, encoding.clip_value)
        clipped *= relative_weight
        return encoding.quantize(clipped)

    def opening(self, policy: Policy) -> bytes:  # noqa: ARG002
        """Return the server's first message, if it follows from the terms and its answer tells nothing.

        A client then answers it as soon as it is ready, in the same reply, which saves one trip; nothing is
        returned where sites wait to be asked.
        """
        return b""

    def check_policy(self, policy: Policy) -> None:  # noqa: B027
        """Refuse terms under which no sum can be made, before any round.

        Raises:
            SettingError: If they are such.
        """

    def can_sum(self, policy: Policy, sites: Collection[int]) -> bool:
        """Return whether these sites are enough for a sum, if none of them drops out."""
        return not self.shortage(policy, sites)

    def shortage(self, policy: Policy, sites: Collection[int]) -> str:
        """Say why these sites are too few for a sum, and what would be enough; nothing if they are not."""
        if len(sites) >= policy.min_survivors:
            return ""
        return f"{len(sites)} sites are left; expected at least min_survivors = {policy.min_survivors}"

    def largest_entry(self, encoding: Encoding, relative_weight: float) -> int:
        """Return the largest magnitude of an entry that ``encode`` makes, by the same operations."""
        return encoding.largest_entry(relative_weight)

    def count_hidden(self, view: ServerView) -> int:
        """Count the vectors in a server's view that it cannot read: masked or encrypted ones."""
        return view.num_masked_vectors

    def reference(self, policy: Policy, encoded: Mapping[str, EncodedVector]) -> NDArray[np.int64]:
        """Return what the sum of some sites' vectors is, without a protocol, for simulations to compare.

        Args:
            policy: The terms.
            encoded: Site to its vector (num_words,), of the survivors.
        """
        total = np.zeros(policy.encoding.num_words, np.int64)
        for words in encoded.values():
            total += policy.encoding.to_signed(words)
        return total

    def summed_with(self, site: int, num_sites: int) -> Collection[int]:  # noqa: ARG002
        """Return the sites whose vectors may be in one sum with that of a site: all, but for groups."""
        return range(num_sites)

    def views(self, view: ServerView) -> tuple[ServerView, ...]:
        """Return the server's views of the single sums that a round consists of: one, but for groups."""
        return (view,)

    def protocol(self, num_sites: int, threshold: int) -> str:  # noqa: ARG002
        """Say for the record how the sum was made."""
        return f"{self.summary}, {num_sites} clients"

    def check_view(  # noqa: B027
        self, view: ServerView, truth: Mapping[str, EncodedVector], known_secrets: Collection[bytes]
    ) -> None:
        """Attack what the server saw of a round, in a simulation, which knows the truth.

        Args:
            view: The round.
            truth: Every site's own words, by name.
            known_secrets: What the rounds before revealed (``ServerView.all_revealed_secrets``).

        Raises:
            MechanismError: If a vector that should be hidden is not. Where nothing is promised nothing is
                checked.
        """
