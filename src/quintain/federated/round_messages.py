"""The messages around a sum: the task of a round that a server broadcasts, its end, and challenges.

Fixed layouts with length checks, all else is a ``ProtocolError``. The server signs nothing: what counts in a
task is compared with the client's own plan, and what follows it is bound to these terms by the sum's own
protocol.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import ProtocolError
from quintain.federated.secagg.message_bodies import SiteSet
from quintain.federated.secagg.policy import ROUND_BYTES

MAGIC = b"QFT1"
READY = b"QFT1 ready"
"""What a client answers once it has trained: the same for all, so that it tells nothing else. Behind it comes
its answer to the first message of the sum, where that follows from the task (``Aggregation.opening``)."""

_HEADER = struct.Struct(f">4sB{ROUND_BYTES}s")
_NUMBER = struct.Struct(">Q")
_INTEGERS = np.dtype("<i8")
MAX_NUMBER = 2**63


class RoundMessage(IntEnum):
    """The kinds of messages from a server outside of the sum."""

    TRAIN = 0
    CANCEL = 1
    CHALLENGE = 2


@dataclass(frozen=True, slots=True)
class PublishedSum:
    """The last sum, which a server publishes with the model that it made of it.

    Args:
        counter: Of the round whose sum it is.
        survivors: Indices of the sites whose updates are in it.
        integers: (num_words,) the sum.
    """

    counter: int
    survivors: SiteSet
    integers: NDArray[np.int64] = field(repr=False)


@dataclass(frozen=True, slots=True)
class RoundTask:
    """The task of a round, which a server broadcasts.

    Args:
        round_id: 16 bytes that no other round has.
        index: The round's number in the training, from 0: it decides local random numbers. A round that is
            tried again after the server was stopped keeps its index and gets another counter and id.
        aggregation: The name of the aggregation.
        terms: All terms, as ``secagg.message_bodies.pack_offer`` writes them.
        model: The common model as safetensors.
        published: The sum that made this model of the last one; None at the start.
        last_sums: For each site of the roster the round, counted from 1, in whose sum its update was last; 0
            for none. A site that was down while a later sum was published learns from it what became of its
            update. It is sent with a published sum.
    """

    round_id: bytes
    index: int
    aggregation: str
    terms: bytes = field(repr=False)
    model: bytes = field(repr=False)
    published: PublishedSum | None = None
    last_sums: tuple[int, ...] = ()

    def pack(self) -> bytes:
        """Write the message."""
        fields: list[bytes | memoryview] = [
            _NUMBER.pack(self.index),
            self.aggregation.encode(),
            self.terms,
            self.model,
        ]
        if self.published is not None:
            found = self.published
            members = sum(1 << site for site in found.survivors)
            fields += [
                _NUMBER.pack(found.counter),
                members.to_bytes((members.bit_length() + 7) // 8 or 1, "little"),
                np.ascontiguousarray(found.integers, _INTEGERS).view(np.uint8).data,
                b"".join(_NUMBER.pack(one) for one in self.last_sums),
            ]
        head = _HEADER.pack(MAGIC, RoundMessage.TRAIN, self.round_id)
        return b"".join((head, *(part for one in fields for part in (_NUMBER.pack(len(one)), one))))

    @classmethod
    def parse(cls, message: bytes) -> "RoundTask":
        """Read the message.

        Raises:
            ProtocolError: If it is no task.
        """
        kind, round_id = open_header(message)
        fields = list(_fields(memoryview(message)[_HEADER.size :]))
        if kind is not RoundMessage.TRAIN or len(fields) not in (4, 8):
            raise ProtocolError(f"{len(message)} bytes that are no task of a round; leave this round")
        index, aggregation, terms, model = fields[:4]
        try:
            name = aggregation.decode()
        except UnicodeDecodeError:
            raise ProtocolError("the name of an aggregation that is no text; leave this round") from None
        return cls(
            round_id=round_id,
            index=_number(index),
            aggregation=name,
            terms=terms,
            model=model,
            published=_published(fields[4:7]),
            last_sums=_numbers(fields[7]) if fields[7:] else (),
        )


def early_answer(reply: bytes) -> bytes | None:
    """Return the answer to the first message of the sum that came with ``READY``; None without ``READY``."""
    return reply.removeprefix(READY) if reply.startswith(READY) else None


def early_answers(replies: Iterable[tuple[int, bytes]]) -> dict[int, bytes]:
    """Return the sites whose replies say ``READY``, in order, with the answer that came with it."""
    found = {site: early_answer(reply) for site, reply in replies}
    return {site: answer for site, answer in sorted(found.items()) if answer is not None}


def pack_cancel(round_id: bytes) -> bytes:
    """Write that a round is over."""
    return _HEADER.pack(MAGIC, RoundMessage.CANCEL, round_id)


def pack_challenge(number: bytes) -> bytes:
    """Write a challenge: a random number (16 bytes) that a client is to sign (``authentication``)."""
    return _HEADER.pack(MAGIC, RoundMessage.CHALLENGE, number)


def is_round_message(message: bytes) -> bool:
    """Whether a message of the server stands outside of the sum."""
    return isinstance(message, bytes) and message[: len(MAGIC)] == MAGIC


def open_header(message: bytes) -> tuple[RoundMessage, bytes]:
    """Return the kind of a message, and the id of its round, or the number to sign.

    Raises:
        ProtocolError: If it is none of these.
    """
    if len(message) >= _HEADER.size:
        magic, kind, round_id = _HEADER.unpack_from(message)
        if magic == MAGIC and kind in set(RoundMessage):
            return RoundMessage(kind), round_id
    raise ProtocolError(f"{len(message)} bytes that are no message of a round; leave this round")


def _fields(data: memoryview) -> Iterator[bytes]:
    """Each field, which stands behind its length."""
    start = 0
    while start < len(data):
        if start + _NUMBER.size > len(data):
            raise ProtocolError("a task that ends within the length of a field; leave this round")
        size = _number(bytes(data[start : start + _NUMBER.size]))
        start += _NUMBER.size
        if start + size > len(data):
            raise ProtocolError(f"a task with a field of {size} bytes that is cut off; leave this round")
        yield bytes(data[start : start + size])
        start += size


def _number(data: bytes) -> int:
    if len(data) != _NUMBER.size:
        raise ProtocolError(f"a number of {len(data)} bytes in a task; expected {_NUMBER.size}")
    (number,) = _NUMBER.unpack(data)
    if number >= MAX_NUMBER:
        raise ProtocolError(f"the number {number} in a task; expected less than 2^63")
    return int(number)


def _numbers(data: bytes) -> tuple[int, ...]:
    starts = range(0, len(data), _NUMBER.size)
    return tuple(_number(data[start : start + _NUMBER.size]) for start in starts)


def _published(fields: list[bytes]) -> PublishedSum | None:
    if not fields:
        return None
    counter, members, integers = fields
    if len(integers) % _INTEGERS.itemsize:
        raise ProtocolError(f"a published sum of {len(integers)} bytes; expected eight for each word")
    bits = int.from_bytes(members, "little")
    survivors = tuple(site for site in range(bits.bit_length()) if bits >> site & 1)
    return PublishedSum(
        _number(counter), survivors, np.frombuffer(integers, _INTEGERS).astype(np.int64, copy=False)
    )
