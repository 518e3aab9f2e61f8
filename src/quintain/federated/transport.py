"""What carries the messages between a server and the clients, and the stages in which a client can be lost.

A transport knows bytes and the indices of sites, and nothing of what the bytes say: one for a network is
written without a look at models or cryptography. The server's calls go out, the clients' replies come back;
who has not replied when the deadline of a stage passes is silent in it, and what comes later is discarded.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from numbers import Real
from typing import Protocol, runtime_checkable

from quintain.core.errors import SettingError, UnknownNameError
from quintain.federated.secagg.messages import MessageType
from quintain.federated.secagg.setting_types import check_types


class Exchange(Protocol):
    """What the server's half of a sum needs of a transport: one stage after the other."""

    def exchange(self, outgoing: Mapping[int, bytes]) -> Mapping[int, bytes]:
        """Deliver to each site, by index, its message; return the replies that came back in time."""


@runtime_checkable
class StreamingExchange(Exchange, Protocol):
    """A transport that hands over replies one by one, so that nobody holds all of them at once."""

    def arrivals(self, outgoing: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        """Deliver to each site its message; yield each reply in time, with its site's index, as it comes."""


class Transport(Exchange, Protocol):
    """A transport carries the messages of all rounds; deadlines are its own."""

    def broadcast(self, message: bytes, sites: Iterable[int]) -> Mapping[int, bytes]:
        """Deliver the task of a round to these sites, and return those that are ready in time, in order.

        With each comes its answer to the first message of the sum, as ``round_messages.early_answer`` reads
        it from the reply, which may be empty. A site is ready once it has trained, which may take long: the
        deadline is that of training.
        """

    def cancel(self, message: bytes, sites: Iterable[int]) -> None:
        """Tell these sites that the round is over, so that they drop its secrets; nothing is waited for."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a server waits.

    Args:
        train: Seconds from the broadcast of the task until a site must be ready.
        stage: Seconds for each message of the sum and its reply.
        gather: Seconds before a round in which sites that are not there may come back, once enough for a sum
            are there.

    Raises:
        SettingError: If one is negative or not finite.
    """

    train: float = 3600.0
    stage: float = 60.0
    gather: float = 60.0

    def __post_init__(self) -> None:
        given = {"train": self.train, "stage": self.stage, "gather": self.gather}
        check_types(Real, **given)
        for name, seconds in given.items():
            if not (math.isfinite(seconds) and seconds >= 0):
                raise SettingError(f"{name} = {seconds}; expected a finite number of seconds, 0 or more")


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
