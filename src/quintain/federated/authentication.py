"""Challenge-response authentication of a site: it signs a random number of the server with its identity.

Where messages go to numbered nodes, such as Flower's, the server learns from this which node belongs to which
site, and that the site's client answers. Nothing else rests on it: whoever carries a site's messages can drop
them, and can neither read nor forge one, since each is masked, encrypted or signed by itself.
"""

import secrets

from quintain.core.errors import ProtocolError
from quintain.federated.round_messages import pack_challenge
from quintain.federated.secagg.keys import Identity, Roster
from quintain.federated.secagg.policy import ROUND_BYTES
from quintain.federated.secagg.primitives import SIGNATURE_BYTES, tagged_hash, verify


def new_challenge() -> tuple[bytes, bytes]:
    """Return a new random number, and the message that asks a client to sign it."""
    number = secrets.token_bytes(ROUND_BYTES)
    return number, pack_challenge(number)


def answer_challenge(identity: Identity, number: bytes) -> bytes:
    """Return a site's answer to a challenge: the signature of the number and its name, then its name."""
    name = identity.name.encode()
    return identity.sign(_signed_message(number, name)) + name


def authenticated_site(answer: bytes, number: bytes, roster: Roster) -> int:
    """Return the index of the site that signed this number.

    Raises:
        ProtocolError: If no site of the roster did.
    """
    signature, name = answer[:SIGNATURE_BYTES], answer[SIGNATURE_BYTES:]
    for site, (known, key) in enumerate(zip(roster.names, roster.keys, strict=True)):
        if known.encode() == name and verify(key, _signed_message(number, name), signature):
            return site
    raise ProtocolError(
        f"an answer of {len(answer)} bytes that no site of the roster has signed; expected one of "
        f"{', '.join(roster.names)}: leave its node out"
    )


def _signed_message(number: bytes, name: bytes) -> bytes:
    return tagged_hash("presence", number, name)
