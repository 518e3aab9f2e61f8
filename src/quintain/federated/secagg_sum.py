"""The secure sum: the aggregation by which the server learns the sum of the updates and nothing else."""

from collections.abc import Collection, Mapping
from typing import ClassVar

from quintain.federated.aggregation import Aggregation, Participant, RoundSum
from quintain.federated.in_process import SECAGG_REPLIES
from quintain.federated.secagg import client, server
from quintain.federated.secagg.collecting import Arrivals, RoundInProgress, RoundOutcome
from quintain.federated.secagg.encoding import EncodedVector
from quintain.federated.secagg.journal import Journal
from quintain.federated.secagg.keys import Identity
from quintain.federated.secagg.message_bodies import SiteSet
from quintain.federated.secagg.messages import MessageType
from quintain.federated.secagg.policy import Policy
from quintain.federated.transport import Exchange, StreamingExchange
from quintain.federated.view import ServerView


def run_round(policy: Policy, transport: Exchange) -> RoundOutcome:
    """Run the server's part of a round; its code never holds more than masked vectors and their sum.

    Raises:
        ProtocolError: If the round is abandoned.
    """
    state, outgoing = server.open_round(policy)
    following: server.State = state
    while isinstance(following, RoundInProgress):
        following, outgoing = server.step(following, _replies(following, transport, outgoing))
    return following


def _replies(state: RoundInProgress, transport: Exchange, outgoing: Mapping[int, bytes]) -> Arrivals:
    """Return the replies of a stage: vectors one by one where the transport can, all else at once."""
    if state.expected_type is MessageType.MASKED and isinstance(transport, StreamingExchange):
        return transport.arrivals(outgoing)
    return transport.exchange(outgoing)


class SecureSum(Aggregation):
    """Masks that cancel in the sum, over sites that may fall silent at any stage.

    Up to 128 sites all pairs share masks; in larger federations each site shares them with random neighbors.

    Guarantee: see ``secagg.client.step``.
    Source: Bonawitz et al., 2017, ePrint 2017/281; Bell et al., 2020, ePrint 2020/704.
    """

    name: ClassVar[str] = "secagg"
    summary: ClassVar[str] = (
        "exact sums of masked vectors, over sites that may fall silent at any stage (Bonawitz et al. 2017)"
    )
    guarantee: ClassVar[str] = (
        "the server learns the sum over at least `min_survivors` sites and nothing else of a site's vector, "
        "if 2t > n + max_corrupt and at most `max_corrupt` sites collude with it; a sum may still tell, and "
        "so may two that differ in their sites: add differential privacy"
    )
    hides_updates: ClassVar[bool] = True
    stands_colluders: ClassVar[bool] = True
    default_rank: ClassVar[int] = 1
    replies: ClassVar[tuple[MessageType, ...]] = SECAGG_REPLIES

    def join(
        self, policy: Policy, identity: Identity, encoded: EncodedVector, journal: Journal
    ) -> Participant:
        """Take part: the vector waits for the server's offer."""
        return _Site(client.start_round(policy, identity, encoded, journal))

    def opening(self, policy: Policy) -> bytes:
        """Return the offer: its answer is public keys, fresh for this round."""
        return server.offer(policy)

    def sum(self, policy: Policy, transport: Exchange) -> RoundSum:
        """Run the five stages; what is left at their end is the sum."""
        outcome = run_round(policy, transport)
        return RoundSum(
            integers=policy.encoding.to_signed(outcome.total),
            survivors=outcome.survivors,
            dropped=outcome.dropped,
            refused=outcome.refused,
            accused=outcome.accused,
        )

    def protocol(self, num_sites: int, threshold: int) -> str:
        """Say for the record how the sum was made."""
        return f"Bonawitz et al. 2017, {num_sites} clients, threshold {threshold}"

    def check_view(
        self, view: ServerView, truth: Mapping[str, EncodedVector], known_secrets: Collection[bytes]
    ) -> None:
        """Attack the masks with all that the server saw (``require_hidden``)."""
        from quintain.federated.hidden import require_hidden

        require_hidden(view, truth, known_secrets=known_secrets)


class _Site:
    """A site's state machine, stepped in place: a refused message leaves its state as it was."""

    def __init__(self, state: client.State) -> None:
        self._state = state
        self.survivors: SiteSet = ()

    def step(self, message: bytes) -> bytes:
        """Return the reply to the server's message."""
        self._state, reply = client.step(self._state, message)
        if isinstance(self._state, client.Agreed):
            self.survivors = self._state.survivors
        return reply
