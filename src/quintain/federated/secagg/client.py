"""The state machine of a site in one round: ``step(state, message)`` returns the next state and a reply.

======  ==========  =============================================================  ==================
state   message     checks before anything is sent                                 reply
======  ==========  =============================================================  ==================
Ready   OFFER       every term equals this site's policy                           KEYS: public keys
Joined  KEY_LIST    >= t sites, pinned signatures, no key twice, own keys          SHARES: sealed
Sent    DELIVERY    listed sites, >= t; each share signed, opens, has its hash     MASKED or COMPLAINT
Masked  SURVIVORS   sharers only, this one too, >= t and >= ``min_survivors``      CONSISTENCY: signed
Agreed  SIGNATURES  >= t signatures of survivors on this very list                 UNMASK: shares
======  ==========  =============================================================  ==================

Sent is ``SharesSent``. In large federations masks and shares go along a sparse graph, which each site draws
from the list of keys (``secagg.key_list``): a site then sees the keys of its neighbors alone, which must be
enough in every list, and refuses survivors whose graph is too thin or falls apart. Whom all agree on as
survivors is decided by t of all sites, as on the complete graph.

Each step has a file: ``client_keys``, ``client_shares``, ``client_masked`` and ``client_unmask``; the states
are in ``client_states``.

A secret leaves its state when the step is taken, so that an old state cannot be stepped again; a refused
message changes nothing. A site that was dealt a bad share sends no vector: it proves who dealt it
(``secagg.dealing`` says how), and leaves the round. Across rounds the journal guards: the roster and the
vector over this model, and the update, are claimed before MASKED leaves, survivors of whom it has opened
other sums are not signed, and the round with its survivors is claimed before UNMASK leaves; on a sparse
graph the survivors are claimed before their signature leaves.

Source: Bonawitz et al., 2017, ePrint 2017/281, the variant for a malicious server; Bell, Bonawitz, Gascon,
Lepoint, Raykova, 2020, ePrint 2020/704, for the sparse graph.
"""

import secrets

import numpy as np

from quintain.core.errors import ProtocolError
from quintain.federated.secagg.client_keys import send_keys
from quintain.federated.secagg.client_masked import send_masked
from quintain.federated.secagg.client_shares import send_shares
from quintain.federated.secagg.client_states import (
    Agreed,
    Done,
    Joined,
    Masked,
    Ready,
    RoundContext,
    SharesSent,
    State,
)
from quintain.federated.secagg.client_unmask import send_unmasking, sign_survivors
from quintain.federated.secagg.encoding import WORD_DTYPE, EncodedVector
from quintain.federated.secagg.journal import Journal
from quintain.federated.secagg.keys import Identity
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.secret import HeldVector
from quintain.federated.secagg.setting_types import check_types
from quintain.federated.secagg.shamir import Entropy

__all__ = [
    "Agreed",
    "Done",
    "Joined",
    "Masked",
    "Ready",
    "RoundContext",
    "SharesSent",
    "State",
    "start_round",
    "step",
]


def start_round(
    policy: Policy,
    identity: Identity,
    encoded: EncodedVector,
    journal: Journal,
    *,
    entropy: Entropy = secrets.token_bytes,
) -> Ready:
    """Make the first state of a site that takes part in a round.

    Args:
        policy: This site's own terms.
        identity: Its signing key, which the policy's roster must list under its name.
        encoded: (encoding.num_words,) its encoded vector, which is neither copied nor changed. A round over a
            model over which it has masked one before, such as after an abandoned round, takes that one again,
            bit for bit: keep it until the model moves.
        journal: What it remembers beyond this round, one for the site's whole life: what it has masked and
            whose sums it has opened.
        entropy: Random bytes by number; the operating system's unless a test needs others.

    Raises:
        ProtocolError: If the roster lists another key, the vector does not fit, or the round was answered
            before.
        SettingError: If policy, identity or journal are of another type.
    """
    check_types(Policy, policy=policy)
    check_types(Identity, identity=identity)
    check_types(Journal, journal=journal)
    index = policy.roster.index_of(identity)
    _check_encoded(encoded, policy.encoding.num_words)
    if journal.has_answered(policy.round_id):
        raise ProtocolError(
            f"round {policy.round_id.hex()} was unmasked before; join a new round with a new id"
        )
    return Ready(
        RoundContext(policy, identity, index, journal, entropy), HeldVector(np.ascontiguousarray(encoded))
    )


def step(state: State, message: bytes) -> tuple[State, bytes]:
    """Return the next state and the reply to the server's message.

    Raises:
        ProtocolError: If the message is refused; the state is still good for a proper one, unless its secrets
            were used.

    Guarantee: against a malicious server that colludes with at most ``max_corrupt`` sites, whatever it sends:
    it learns about the vectors of the honest sites at most one sum, taken over the honest sites in a single
    survivor list of at least ``min_survivors`` sites; and over all rounds with one model hash, sums of one
    vector of each honest site, over one list and under one set of terms only for each roster, and over
    rosters with no honest site in common, so that no two of them subtract to a few sites, or to a site's own
    change of weight or data (see ``journal``; rounds over different models are not covered). Where the task
    tells public weights, no site's stands out more than one of two equals (see ``weights``). Above 128 sites,
    where masks go along a sparse graph, all this holds but for a chance of 2^-80 over each graph, whichever
    ``n - min_survivors`` dropouts the server chooses when it knows the graph; a server that tries 2^40 lists
    of keys has 2^-40 (see ``graph``). Assumes that X25519, HKDF-SHA256, AES-256 and Ed25519 are secure, that
    each site's entropy is uniform, that its journal lasts, and that the roster is right. Not promised:
    constant time, a true sum if a site lies about its own vector, or that the sum itself tells nothing.
    """
    match state:
        case Ready():
            return send_keys(state, message)
        case Joined():
            return send_shares(state, message)
        case SharesSent():
            return send_masked(state, message)
        case Masked():
            return sign_survivors(state, message)
        case Agreed():
            return send_unmasking(state, message)
    raise ProtocolError(
        f"this site is {type(state).__name__.lower()} and takes no further message: start a new round"
    )


def _check_encoded(encoded: object, length: int) -> None:
    """Refuse anything but an encoded vector of this length, without showing it."""
    if not isinstance(encoded, np.ndarray) or encoded.dtype != WORD_DTYPE or encoded.shape != (length,):
        got = (
            f"{encoded.shape} of {encoded.dtype}"
            if isinstance(encoded, np.ndarray)
            else f"of type {type(encoded).__name__}"
        )
        raise ProtocolError(f"words {got}; expected ({length},) of uint32, as Encoding.quantize makes them")
