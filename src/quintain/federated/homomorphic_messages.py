"""The messages of a homomorphic sum: requests of the server, and replies that the sites sign.

=========  ==================================  =========  ==========================================
request    says after its head                 reply      says, under the site's signature
=========  ==================================  =========  ==========================================
ENCRYPT                                        ENCRYPTED  the ciphertext of its vector
SURVIVORS  the list: survivors, hash of sum    SIGNED     nothing: the signature is on the list
OPEN       signatures on the list, the sum     OPENED     the integers of the sum, for this list
=========  ==================================  =========  ==========================================

The head names the round and the hash of its terms, to which every signature is bound too.
"""

import struct
from collections.abc import Mapping

from quintain.core.errors import ProtocolError
from quintain.federated.secagg.keys import Identity
from quintain.federated.secagg.message_bodies import (
    SiteSet,
    pack_set,
    pack_signatures,
    parse_set,
    parse_signatures,
    set_bytes,
)
from quintain.federated.secagg.policy import HASH_BYTES, ROUND_BYTES, Policy
from quintain.federated.secagg.primitives import SIGNATURE_BYTES, expect_length, tagged_hash, verify

MAGIC = b"QHS2"
ENCRYPT, ENCRYPTED, SURVIVORS, SIGNED, OPEN, OPENED = range(6)
_REQUEST = struct.Struct(f">4sB{ROUND_BYTES}s{HASH_BYTES}s")
_REPLY = struct.Struct(f">4sB{ROUND_BYTES}sI")


def request(kind: int, policy: Policy) -> bytes:
    """Return the head of a request, all of it if it says nothing more."""
    return _REQUEST.pack(MAGIC, kind, policy.round_id, policy.digest())


def reply(kind: int, policy: Policy, identity: Identity, body: bytes, bound_to: bytes) -> bytes:
    """Return a site's reply with its signature, which is bound to what it answers."""
    head = _head(kind, policy, policy.roster.index(identity.name))
    return head + body + identity.sign(_signed_bytes(policy, head, body, bound_to))


def open_reply(data: bytes, policy: Policy, site: int, kind: int, bound_to: bytes) -> bytes:
    """Return the body of a site's reply.

    Raises:
        ProtocolError: If the site did not sign it for this round and what it answers.
    """
    head = _head(kind, policy, site)
    if not isinstance(data, bytes) or len(data) < len(head) + SIGNATURE_BYTES or not data.startswith(head):
        raise ProtocolError("its reply is none to this request, in its own name; expected one")
    body, signature = data[len(head) : -SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
    if not verify(policy.roster.keys[site], _signed_bytes(policy, head, body, bound_to), signature):
        raise ProtocolError("its signature does not hold for this round and these terms")
    return body


def open_signature(data: bytes, policy: Policy, site: int, listed: bytes) -> bytes:
    """Return the signature in a site's ``SIGNED``.

    Raises:
        ProtocolError: If it does not hold for this list, or something else stands in the reply.
    """
    body = open_reply(data, policy, site, SIGNED, listed)
    expect_length(body, 0, "what stands before a signature on the survivors")
    return data[-SIGNATURE_BYTES:]


def has_signed(signature: bytes, policy: Policy, site: int, listed: bytes) -> bool:
    """Whether this is a site's signature on a list."""
    head = _head(SIGNED, policy, site)
    return verify(policy.roster.keys[site], _signed_bytes(policy, head, b"", listed), signature)


def pack_list(survivors: SiteSet, total: bytes, num_sites: int) -> bytes:
    """Write the list that sites sign: who is in the sum, and the hash of the sum's ciphertext."""
    return pack_set(survivors, num_sites) + sum_hash(total)


def parse_list(body: bytes, num_sites: int) -> tuple[SiteSet, bytes]:
    """Read ``pack_list``'s layout."""
    size = set_bytes(num_sites)
    expect_length(body, size + HASH_BYTES, "a list of survivors")
    return parse_set(body[:size], num_sites), body[size:]


def pack_opening(signatures: Mapping[int, bytes], total: bytes, num_sites: int) -> bytes:
    """Write a sum to open, behind the signatures on its list."""
    return pack_signatures(signatures, num_sites) + total


def parse_opening(body: bytes, num_sites: int) -> tuple[dict[int, bytes], bytes]:
    """Read ``pack_opening``'s layout."""
    size = set_bytes(num_sites)
    end = size + SIGNATURE_BYTES * len(parse_set(body[:size], num_sites))
    return parse_signatures(body[:end], num_sites), body[end:]


def sum_hash(total: bytes) -> bytes:
    """Return the hash by which a list names the ciphertext of a sum."""
    return tagged_hash("homomorphic total", total)


def _head(kind: int, policy: Policy, site: int) -> bytes:
    return _REPLY.pack(MAGIC, kind, policy.round_id, site)


def _signed_bytes(policy: Policy, head: bytes, body: bytes, bound_to: bytes) -> bytes:
    return tagged_hash("homomorphic sum", policy.digest(), head, body, bound_to)
