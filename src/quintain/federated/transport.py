"""Transports of messages: the interface, and one inside this process with simulated dropouts."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from quintain.core.errors import ProtocolError, StorageError, UnknownNameError
from quintain.federated.secagg import client
from quintain.federated.secagg.messages import MessageType, message_type_of
from quintain.federated.secagg.policy import Policy
from quintain.federated.view import RecordedMessage, ServerView


class Transport(Protocol):
    """A transport carries the messages of one stage of a round."""

    def exchange(self, outgoing: Mapping[int, bytes]) -> Mapping[int, bytes]:
        """Deliver to each site, by index, its message; return the replies that came back in time."""


class DropoutStage(StrEnum):
    """From which message on a site no longer answers.

    ``LATE``: its masked vector arrives after the deadline, and nothing after it.
    """

    KEYS = "keys"
    SHARES = "shares"
    MASKED = "masked"
    LATE = "late"
    CONSISTENCY = "agree"
    UNMASK = "unmask"

    @classmethod
    def parse(cls, name: str) -> "DropoutStage":
        """Return the stage of a name.

        Raises:
            UnknownNameError: If there is none.
        """
        if not isinstance(name, str) or name not in set(cls):
            raise UnknownNameError("stage", str(name), cls)
        return cls(name)

    @property
    def first_missing(self) -> MessageType:
        """The first message that does not arrive in time."""
        return MessageType.MASKED if self is DropoutStage.LATE else MessageType[self.name]


class InProcessTransport:
    """Transport to sites inside this process.

    It records what the server sees and, for the simulation alone, why sites left the round.

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
        self._policy = policy
        self._sites = dict(sites)
        self._dropouts = dict(dropouts or {})
        self._turn = 0
        self._sent: list[RecordedMessage] = []
        self._received: list[RecordedMessage] = []
        self.refusals: dict[str, str] = {}

    @property
    def view(self) -> ServerView:
        """The server's view so far."""
        return ServerView(self._policy, tuple(self._sent), tuple(self._received))

    def exchange(self, outgoing: Mapping[int, bytes]) -> Mapping[int, bytes]:
        """Let each site that still answers take its step."""
        request_type, reply_type = MessageType(self._turn), MessageType(self._turn + 1)
        self._turn += 2
        replies: dict[int, bytes] = {}
        late: list[RecordedMessage] = []
        for site, message in outgoing.items():
            self._sent.append(RecordedMessage(site, request_type, message))
            stage = self._dropouts.get(site)
            silent = stage is not None and reply_type >= stage.first_missing
            if site not in self._sites or (
                silent and not (stage is DropoutStage.LATE and reply_type is MessageType.MASKED)
            ):
                continue
            reply = self._step(site, message)
            if reply is None:
                continue
            if silent:
                late.append(RecordedMessage(site, message_type_of(reply), reply))
            else:
                replies[site] = reply
        self._received += [
            RecordedMessage(site, message_type_of(reply), reply) for site, reply in replies.items()
        ] + late
        return replies

    def _step(self, site: int, message: bytes) -> bytes | None:
        """Return the site's reply; None once it has left the round.

        It leaves when it refuses, or cannot write its journal.
        """
        try:
            self._sites[site], reply = client.step(self._sites[site], message)
        except (ProtocolError, StorageError) as error:
            del self._sites[site]
            self.refusals[self._policy.roster.names[site]] = str(error)
            return None
        return reply
