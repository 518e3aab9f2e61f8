"""How messages travel: a protocol of one method, and an implementation inside one process in which sites can fall silent."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from quintain.core.errors import ProtocolError, StorageError, UnknownNameError
from quintain.federated.secagg import client
from quintain.federated.secagg.messages import Kind, kind_of
from quintain.federated.secagg.policy import Policy
from quintain.federated.view import Letter, ServerView


class Transport(Protocol):
    """Carries one stage of a round."""

    def exchange(self, outgoing: Mapping[int, bytes]) -> Mapping[int, bytes]:
        """Deliver to each site (by index in the roster) its message; return the replies that came back in time."""


class Stage(StrEnum):
    """From which of its messages on a site is silent; ``LATE``: its masked vector arrives after the deadline, then nothing more."""

    KEYS = "keys"
    SHARES = "shares"
    MASKED = "masked"
    LATE = "late"
    AGREE = "agree"
    UNMASK = "unmask"

    @classmethod
    def of(cls, name: str) -> "Stage":
        """The stage of a name.

        Raises:
            UnknownNameError: If there is none.
        """
        if not isinstance(name, str) or name not in set(cls):
            raise UnknownNameError("stage", str(name), cls)
        return cls(name)

    @property
    def kind(self) -> Kind:
        """The first message that does not arrive in time."""
        return Kind.MASKED if self is Stage.LATE else Kind[self.name]


class InProcess:
    """Sites inside this process; it keeps what the server sees and, for the simulation alone, why sites left the round.

    Args:
        policy: The terms, for the record.
        sites: The sites' first states, in the roster's order.
        drop: Site index to the stage from which it is silent.
    """

    def __init__(self, policy: Policy, sites: Mapping[int, client.State], drop: Mapping[int, Stage] | None = None) -> None:
        self._policy = policy
        self._sites = dict(sites)
        self._drop = dict(drop or {})
        self._turn = 0
        self._sent: list[Letter] = []
        self._received: list[Letter] = []
        self.refusals: dict[str, str] = {}

    @property
    def view(self) -> ServerView:
        """What the server has seen so far."""
        return ServerView(self._policy, tuple(self._sent), tuple(self._received))

    def exchange(self, outgoing: Mapping[int, bytes]) -> Mapping[int, bytes]:
        """Let each site that still speaks take its step."""
        told, asked = Kind(self._turn), Kind(self._turn + 1)
        self._turn += 2
        replies: dict[int, bytes] = {}
        late: list[Letter] = []
        for site, message in outgoing.items():
            self._sent.append(Letter(site, told, message))
            stage = self._drop.get(site)
            silent = stage is not None and asked >= stage.kind
            if site not in self._sites or (silent and not (stage is Stage.LATE and asked is Kind.MASKED)):
                continue
            reply = self._step(site, message)
            if reply is None:
                continue
            if silent:
                late.append(Letter(site, kind_of(reply), reply))
            else:
                replies[site] = reply
        self._received += [Letter(site, kind_of(reply), reply) for site, reply in replies.items()] + late
        return replies

    def _step(self, site: int, message: bytes) -> bytes | None:
        """The site's reply, or nothing once it has refused or cannot write its journal: it then leaves the round."""
        try:
            self._sites[site], reply = client.step(self._sites[site], message)
        except (ProtocolError, StorageError) as error:
            del self._sites[site]
            self.refusals[self._policy.roster.names[site]] = str(error)
            return None
        return reply
