"""The messages of the protocol: a header, a body (``message_bodies``), and of a site its signature.

Every message starts with magic, kind, round id and sender. A site's message ends in its signature over the
transcript so far, the header and the body (of shares: the root of a hash tree over it, ``share_messages``).
What is of another kind, round or sender, or not signed by its site, is a ``ProtocolError``.
"""

import struct
from collections.abc import Callable
from enum import IntEnum

from quintain.core.errors import ProtocolError
from quintain.federated.secagg.encoding import EncodedVector
from quintain.federated.secagg.keys import Identity
from quintain.federated.secagg.message_bodies import parse_vector
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.primitives import SIGNATURE_BYTES, tagged_hash, verify

MAGIC = b"QSA3"
SERVER_ID = 2**32 - 1
_HEADER = struct.Struct(">4sB16sI")


class MessageType(IntEnum):
    """The type of a message, in the order of the round.

    The server sends even ones, a site replies with the next.

    The rounds of Bonawitz et al.: AdvertiseKeys is KEYS, KEY_LIST; ShareKeys is SHARES, DELIVERY;
    MaskedInputCollection is MASKED, SURVIVORS; ConsistencyCheck is CONSISTENCY, SIGNATURES; Unmasking is
    UNMASK. The sites that reached them: U1 have keys, U2 are the sharers, U3 the survivors. A site that was
    dealt a bad pair of shares answers the delivery with a complaint instead.
    """

    OFFER = 0
    KEYS = 1
    KEY_LIST = 2
    SHARES = 3
    DELIVERY = 4
    MASKED = 5
    SURVIVORS = 6
    CONSISTENCY = 7
    SIGNATURES = 8
    UNMASK = 9
    COMPLAINT = 11


_KINDS = frozenset(int(kind) for kind in MessageType)


def from_server(kind: MessageType, round_id: bytes, body: bytes) -> bytes:
    """A message of the server: it carries no signature, what counts in it is signed or sealed by sites."""
    return _HEADER.pack(MAGIC, kind, round_id, SERVER_ID) + body


def from_site(
    kind: MessageType,
    policy: Policy,
    site: int,
    body: bytes | memoryview,
    transcript_hash: bytes,
    identity: Identity,
    *,
    root: bytes | None = None,
) -> bytes:
    """A site's message with its signature, which is over the body, or over the root of its hash tree."""
    head = _HEADER.pack(MAGIC, kind, policy.round_id, site)
    signed = _signed_bytes(transcript_hash, head, body if root is None else root)
    return b"".join((head, body, identity.sign(signed)))


def open_server(data: bytes, kind: MessageType, policy: Policy) -> bytes:
    """The body of the server's message of this kind and round."""
    _check_head(data, kind, policy, SERVER_ID)
    return data[_HEADER.size :]


def open_site(
    data: bytes,
    kind: MessageType,
    policy: Policy,
    site: int,
    transcript_hash: bytes,
    *,
    root_of: Callable[[bytes], bytes] | None = None,
) -> tuple[bytes, bytes]:
    """Body and signature of a site's message, verified under its pinned identity and this transcript.

    Args:
        data: The message.
        kind: What it is to be.
        policy: The terms.
        site: Its sender.
        transcript_hash: So far.
        root_of: What the signature is over, where it is not the body itself: the root of its hash tree.
    """
    _check_site_head(data, kind, policy, site)
    body, signature = site_body(data), data[-SIGNATURE_BYTES:]
    signed = body if root_of is None else root_of(body)
    check_signature(kind, policy, site, signed, transcript_hash, signature)
    return body, signature


def open_masked(data: bytes, policy: Policy, site: int, transcript_hash: bytes) -> EncodedVector:
    """Return the vector (num_words,) of a MASKED message, verified as by ``open_site``, without a copy."""
    _check_site_head(data, MessageType.MASKED, policy, site)
    body = masked_body(data)
    check_signature(MessageType.MASKED, policy, site, body, transcript_hash, data[-SIGNATURE_BYTES:])
    return parse_vector(body, policy.encoding.num_words)


def check_signature(
    kind: MessageType,
    policy: Policy,
    site: int,
    body: bytes | memoryview,
    transcript_hash: bytes,
    signature: bytes,
) -> None:
    """Refuse a site's message unless its pinned identity signed exactly it.

    The signature is for this round and this transcript. Of shares it is over the root of their tree.
    """
    head = _HEADER.pack(MAGIC, kind, policy.round_id, site)
    if not verify(policy.roster.keys[site], _signed_bytes(transcript_hash, head, body), signature):
        raise ProtocolError(
            f"the signature of {policy.roster.names[site]!r} on its {kind.name} message does not hold for "
            "this round and its lists so far; expected one made with the key in the roster: leave this round"
        )


def message_type_of(data: object) -> MessageType:
    """What a message says it is."""
    if not isinstance(data, bytes):
        raise ProtocolError(f"a {type(data).__name__} that is no message of this protocol; expected bytes")
    if len(data) < _HEADER.size or data[:4] != MAGIC or data[4] not in _KINDS:
        raise ProtocolError(
            f"{len(data)} bytes that are no message of this protocol; expected the header {MAGIC!r} and a "
            "known kind"
        )
    return MessageType(data[4])


def server_body(data: bytes) -> bytes:
    """What follows the header in a message of the server, unchecked: for those who read a recorded round."""
    return data[_HEADER.size :]


def site_body(data: bytes) -> bytes:
    """What stands between the header and the signature in a message of a site, unchecked."""
    return data[_HEADER.size : -SIGNATURE_BYTES]


def masked_body(data: bytes) -> memoryview:
    """Return the body of a MASKED message as ``site_body`` does, without a copy of the vector."""
    return memoryview(data)[_HEADER.size : -SIGNATURE_BYTES]


def _check_head(data: bytes, kind: MessageType, policy: Policy, sender: int) -> None:
    """Refuse what is no message of this kind, round and sender."""
    if message_type_of(data) is not kind:
        raise ProtocolError(
            f"got a {message_type_of(data).name} message; this step expects {kind.name}: send it in its turn"
        )
    _, _, round_id, claimed = _HEADER.unpack_from(data)
    if round_id != policy.round_id:
        raise ProtocolError(
            f"a message of round {round_id.hex()}; this is round {policy.round_id.hex()}: a replay is refused"
        )
    if claimed != sender:
        raise ProtocolError(
            f"a {kind.name} message in the name of sender {claimed}; expected {sender}: refuse it"
        )


def _check_site_head(data: bytes, kind: MessageType, policy: Policy, site: int) -> None:
    """Refuse what is no message of this kind, round and site, or too short for a signature."""
    _check_head(data, kind, policy, site)
    if len(data) < _HEADER.size + SIGNATURE_BYTES:
        raise ProtocolError(
            f"a {kind.name} message of {len(data)} bytes has no room for its signature; refuse it"
        )


def _signed_bytes(transcript_hash: bytes, head: bytes, body: bytes | memoryview) -> bytes:
    return tagged_hash("message", transcript_hash, head, body)
