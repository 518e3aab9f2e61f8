"""The plain sum: every client sends its vector in the clear, signed: for comparison."""

import struct
from typing import ClassVar

import numpy as np

from quintain.core.errors import ProtocolError
from quintain.federated.aggregation import Aggregation, Participant, RoundSum
from quintain.federated.secagg.encoding import WORD_DTYPE, EncodedVector
from quintain.federated.secagg.journal import Journal
from quintain.federated.secagg.keys import Identity
from quintain.federated.secagg.message_bodies import SiteSet, pack_vector, parse_vector
from quintain.federated.secagg.messages import MessageType
from quintain.federated.secagg.policy import HASH_BYTES, ROUND_BYTES, Policy
from quintain.federated.secagg.primitives import SIGNATURE_BYTES, tagged_hash, verify
from quintain.federated.secagg.setting_types import check_types
from quintain.federated.transport import Exchange

MAGIC = b"QPM1"
_REQUEST = struct.Struct(f">4sB{ROUND_BYTES}s{HASH_BYTES}s")
_REPLY = struct.Struct(f">4sB{ROUND_BYTES}sI")


class PlainMean(Aggregation):
    """Vectors in the clear: the server adds up what it can read.

    A vector is signed under the terms of the round, so that nobody else can put one in a site's name, and the
    journal gives an update to one round only.
    """

    name: ClassVar[str] = "plain-sum"
    old_names: ClassVar[tuple[str, ...]] = ("none",)
    summary: ClassVar[str] = "exact sums of vectors that the server sees, each signed by its site"
    guarantee: ClassVar[str] = (
        "nothing is hidden: the server sees each site's update, from which images can be reconstructed; the "
        "sum is exact, over the vectors that their own sites signed for this round"
    )
    hides_updates: ClassVar[bool] = False
    replies: ClassVar[tuple[MessageType, ...]] = (MessageType.MASKED,)

    def join(
        self, policy: Policy, identity: Identity, encoded: EncodedVector, journal: Journal
    ) -> Participant:
        """Take part: the vector waits for the server's request."""
        return _Sender(policy, identity, encoded, journal)

    def sum(self, policy: Policy, transport: Exchange) -> RoundSum:
        """Ask all sites for their vectors, and add up those that hold."""
        names, encoding = policy.roster.names, policy.encoding
        request = _REQUEST.pack(MAGIC, 0, policy.round_id, policy.digest())
        replies = transport.exchange(dict.fromkeys(range(len(names)), request))
        total = np.zeros(encoding.num_words, np.int64)
        survivors: list[str] = []
        refused: dict[str, str] = {}
        for site in sorted(set(replies) & set(range(len(names)))):
            try:
                integers = encoding.to_signed(_open_reply(replies[site], policy, site))
                encoding.check_sum(integers, 1)
            except ProtocolError as error:
                refused[names[site]] = str(error)
                continue
            total += integers
            survivors.append(names[site])
        if len(survivors) < policy.min_survivors:
            raise ProtocolError(
                f"{len(survivors)} of {len(names)} sites sent a vector; {policy.min_survivors} are needed: "
                "the round is abandoned, start another with a new id"
                + "".join(f"; {name}: {reason}" for name, reason in refused.items())
            )
        dropped = tuple(name for name in names if name not in survivors)
        return RoundSum(total, tuple(survivors), dropped, refused)


class _Sender:
    """A site that has its vector ready, and sends it once."""

    survivors: SiteSet = ()

    def __init__(self, policy: Policy, identity: Identity, encoded: EncodedVector, journal: Journal) -> None:
        check_types(Policy, policy=policy)
        check_types(Identity, identity=identity)
        check_types(Journal, journal=journal)
        self._policy, self._identity, self._journal = policy, identity, journal
        self._index = policy.roster.index_of(identity)
        if encoded.dtype != WORD_DTYPE or encoded.shape != (policy.encoding.num_words,):
            raise ProtocolError(
                f"words {encoded.shape} of {encoded.dtype}; expected ({policy.encoding.num_words},) of uint32"
            )
        self._vector = pack_vector(encoded)

    def step(self, message: bytes) -> bytes:
        """Return the signed vector, if the request is for the round under this site's own terms."""
        policy = self._policy
        expected = _REQUEST.pack(MAGIC, 0, policy.round_id, policy.digest())
        if message != expected:
            raise ProtocolError(
                f"a request of {len(message)} bytes that is not for round {policy.round_id.hex()} under this "
                "site's own terms; expected it to repeat both: leave this round"
            )
        task = policy.task
        self._journal.claim_update(task.federation, task.counter, policy.model_hash, policy.round_id)
        head = _REPLY.pack(MAGIC, 1, policy.round_id, self._index)
        signed = _signed_bytes(policy, head, self._vector)
        return head + self._vector + self._identity.sign(signed)


def _open_reply(data: bytes, policy: Policy, site: int) -> EncodedVector:
    """Return the words (num_words,) of a site's reply, if it signed them for this round and these terms."""
    head = _REPLY.pack(MAGIC, 1, policy.round_id, site)
    size = len(head) + 4 * policy.encoding.num_words + SIGNATURE_BYTES
    if not isinstance(data, bytes) or len(data) != size or not data.startswith(head):
        raise ProtocolError(
            "its reply is not a vector of this round in its own name; expected "
            f"{size} bytes that begin with magic, round and site"
        )
    body, signature = data[len(head) : -SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
    if not verify(policy.roster.keys[site], _signed_bytes(policy, head, body), signature):
        raise ProtocolError("its signature on its vector does not hold for this round and these terms")
    return parse_vector(body, policy.encoding.num_words)


def _signed_bytes(policy: Policy, head: bytes, body: bytes) -> bytes:
    return tagged_hash("plain vector", policy.digest(), head, body)
