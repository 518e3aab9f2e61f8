"""Transports inside one process: they record what the server sees, and let sites fall silent as planned."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

from quintain.core.errors import ProtocolError, StorageError
from quintain.federated.aggregation import Participant
from quintain.federated.secagg import client
from quintain.federated.secagg.messages import MessageType, message_type_of
from quintain.federated.secagg.policy import Policy
from quintain.federated.transport import DropoutStage
from quintain.federated.view import RecordedMessage, ServerView

SECAGG_REPLIES = (
    MessageType.KEYS,
    MessageType.SHARES,
    MessageType.MASKED,
    MessageType.CONSISTENCY,
    MessageType.UNMASK,
)
"""The replies of a site in secure aggregation, in order: what a simulated dropout is counted by."""
MAX_KEPT_BYTES = 2**28
"""Bytes of vectors that the record of a round keeps, 256 MiB; those of further sites are only counted."""


class RecordingTransport(ABC):
    """A transport in this process that records what the server sees and, apart, why sites left the round.

    Args:
        names: The sites' names, in the roster's order.
        dropouts: Site index to the stage from which it is silent.
        replies: What a site's replies of the sum stand for, in order; a sum of one message has ``MASKED``.

    Attributes:
        refusals: By name, why a site left; the server does not learn it.
    """

    def __init__(
        self,
        names: Sequence[str],
        dropouts: Mapping[int, DropoutStage] | None = None,
        replies: Sequence[MessageType] = SECAGG_REPLIES,
    ) -> None:
        self.names = tuple(names)
        self.refusals: dict[str, str] = {}
        self._dropouts = dict(dropouts or {})
        self._replies = tuple(replies)
        self._turn = 0
        self._sent: list[RecordedMessage] = []
        self._received: list[RecordedMessage] = []
        self._kept_bytes = 0

    def view_under(self, policy: Policy) -> ServerView:
        """Return the server's view so far, of a round under these terms."""
        return ServerView(policy, tuple(self._sent), tuple(self._received))

    def exchange(self, outgoing: Mapping[int, bytes]) -> Mapping[int, bytes]:
        """Let each site that still answers take its step."""
        return dict(self.arrivals(outgoing))

    def arrivals(self, outgoing: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        """Let each site that still answers take its step when the reply of the one before is dealt with."""
        reply_type = self._replies[self._turn]
        self._turn += 1
        too_late = reply_type is MessageType.MASKED
        requests = {}
        for site, message in outgoing.items():
            self._sent.append(RecordedMessage(site, _type_of(message), message))
            is_late = self._dropouts.get(site) is DropoutStage.LATE and too_late
            if self._is_there(site) and (is_late or not self._is_silent(site, reply_type)):
                requests[site] = message
        late: list[tuple[int, bytes]] = []
        for site, reply in self._answers(requests):
            if self._is_silent(site, reply_type):
                late.append((site, reply))
            else:
                self._record(site, reply)
                yield site, reply
        for site, reply in late:
            self._record(site, reply)

    def _with_early(self, answers: Mapping[int, bytes]) -> dict[int, bytes]:
        """Return the first replies of the sum as they came with those of the task; silent sites sent none.

        Where there are any, the first message of the sum is not sent any more.
        """
        if not any(answers.values()):
            return dict(answers)
        reply_type = self._replies[self._turn]
        self._turn += 1
        early = {site: b"" if self._is_silent(site, reply_type) else reply for site, reply in answers.items()}
        for site, reply in early.items():
            if reply:
                self._record(site, reply)
        return early

    def _is_silent(self, site: int, reply_type: MessageType) -> bool:
        stage = self._dropouts.get(site)
        return stage is not None and reply_type >= stage.first_missing

    def _record(self, site: int, reply: bytes) -> None:
        kind = _type_of(reply)
        is_vector = kind in (MessageType.MASKED, None)
        if is_vector and self._kept_bytes + len(reply) > MAX_KEPT_BYTES:
            self._received.append(RecordedMessage(site, kind, b"", len(reply)))
            return
        self._kept_bytes += len(reply) if is_vector else 0
        self._received.append(RecordedMessage(site, kind, reply))

    @abstractmethod
    def _is_there(self, site: int) -> bool:
        """Return whether a site still takes part."""

    @abstractmethod
    def _answers(self, requests: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        """Yield the sites' replies; none of one that leaves the round, for a reason in ``refusals``."""


class InProcessTransport(RecordingTransport):
    """Transport to the state machines of sites inside this process, for one secure sum.

    Args:
        policy: The terms, for the record.
        sites: The sites' first states, in the roster's order.
        dropouts: Site index to the stage from which it is silent.
    """

    def __init__(
        self,
        policy: Policy,
        sites: Mapping[int, client.State],
        dropouts: Mapping[int, DropoutStage] | None = None,
    ) -> None:
        super().__init__(policy.roster.names, dropouts)
        self._policy = policy
        self._sites = dict(sites)

    @property
    def view(self) -> ServerView:
        """The server's view so far."""
        return self.view_under(self._policy)

    def _is_there(self, site: int) -> bool:
        return site in self._sites

    def _answers(self, requests: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        """Yield the sites' replies; a site leaves when it refuses, or cannot write its journal."""
        for site, message in requests.items():
            try:
                self._sites[site], reply = client.step(self._sites[site], message)
            except (ProtocolError, StorageError) as error:
                del self._sites[site]
                self.refusals[self.names[site]] = str(error)
                continue
            yield site, reply


class ParticipantTransport(RecordingTransport):
    """Transport to the clients' halves of one sum, whatever the aggregation, inside this process.

    Args:
        names: The sites' names, in the roster's order.
        participants: Site index to its half of the sum.
        dropouts: Site index to the stage from which it is silent.
        replies: Those of the aggregation.
    """

    def __init__(
        self,
        names: Sequence[str],
        participants: Mapping[int, Participant],
        dropouts: Mapping[int, DropoutStage],
        replies: Sequence[MessageType],
    ) -> None:
        super().__init__(names, dropouts, replies)
        self._participants = dict(participants)

    def _is_there(self, site: int) -> bool:
        return site in self._participants

    def _answers(self, requests: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        for site, message in requests.items():
            try:
                reply = self._participants[site].step(message)
            except (ProtocolError, StorageError) as error:
                del self._participants[site]
                self.refusals[self.names[site]] = str(error)
                continue
            yield site, reply


def _type_of(data: bytes) -> MessageType | None:
    """What a message of secure aggregation says it is; None for one of another sum."""
    try:
        return message_type_of(data)
    except ProtocolError:
        return None
