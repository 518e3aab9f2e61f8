"""How a site says who it is: it signs a number that the server has just made up, under its identity.

Where messages go to numbered nodes, the server learns by this which node leads to which site, and that the
site's client is there. The answer decides nothing else: who carries a site's messages can lose them, which is
a dropout, and can neither read nor make one, since each is masked, sealed or signed by itself.
"""

import secrets

from quintain.core.errors import ProtocolError
from quintain.federated.round_messages import pack_who
from quintain.federated.secagg.keys import Identity, Roster
from quintain.federated.secagg.policy import ROUND_BYTES
from quintain.federated.secagg.primitives import SIGNATURE_BYTES, tagged_hash, verify


def new_challenge() -> tuple[bytes, bytes]:
    """Return a new number, and the message that asks for a signature on it."""
    number = secrets.token_bytes(ROUND_BYTES)
    return number, pack_who(number)


def say_who(identity: Identity, number: bytes) -> bytes:
    """Return a site's answer: its signature, and its name."""
    name = identity.name.encode()
    return identity.sign(_signed(number, name)) + name


def site_that_answers(answer: bytes, number: bytes, roster: Roster) -> int:
    """Return the index of the site that has signed this very number.

    Raises:
        ProtocolError: If none of the roster has.
    """
    signature, name = answer[:SIGNATURE_BYTES], answer[SIGNATURE_BYTES:]
    for site, (known, key) in enumerate(zip(roster.names, roster.keys, strict=True)):
        if known.encode() == name and verify(key, _signed(number, name), signature):
            return site
    raise ProtocolError(
        f"an answer of {len(answer)} bytes that no site of the roster has signed; expected one of "
        f"{', '.join(roster.names)}: leave its node out"
    )


def _signed(number: bytes, name: bytes) -> bytes:
    return tagged_hash("presence", number, name)
