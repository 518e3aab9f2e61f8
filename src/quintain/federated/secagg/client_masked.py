"""The third step of a site: it opens the shares that it was dealt, and sends its masked vector."""

from collections.abc import Mapping

import numpy as np

from quintain.core.errors import ProtocolError
from quintain.federated.secagg import dealing, masks, transcript
from quintain.federated.secagg.client_checks import require_members, require_neighbors
from quintain.federated.secagg.client_states import Done, Masked, SharesSent
from quintain.federated.secagg.dealing import HolderShares, SharePair, pack_pair, unpack_pair
from quintain.federated.secagg.encoding import EncodedVector
from quintain.federated.secagg.keys import Identity
from quintain.federated.secagg.messages import MessageType, check_signature, open_server
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.primitives import KEY_BYTES, authenticate, tagged_hash
from quintain.federated.secagg.secret import Secret, wipe
from quintain.federated.secagg.share_messages import (
    Complaint,
    DeliveredShares,
    pack_complaint,
    parse_delivery,
)
from quintain.federated.secagg.share_tree import tree_depth


def send_masked(state: SharesSent, message: bytes) -> tuple[Masked | Done, bytes]:
    """Open what the peers dealt; send the masked vector, or prove who dealt a bad share."""
    site = state.context
    policy, own = site.policy, site.index
    sharing, delivered = parse_delivery(
        open_server(message, MessageType.DELIVERY, policy),
        own,
        len(policy.roster),
        tree_depth(policy),
        state.graph.neighbors(own),
    )
    require_members("sites have shared", sharing, within=state.members, minimum=policy.threshold, site=site)
    require_neighbors("have shared", tuple(delivered), state.graph)
    _require_signed(state, delivered)
    transcript_hash = transcript.append_sharers(state.transcript_hash, sharing, len(policy.roster))
    # open what each peer dealt; the first bad share ends the round for this site
    held = {own: unpack_pair(state.own_share.peek())}
    peers = [i for i in state.public_keys if i != own]
    # views, not slices: a slice would be a copy of a secret, which nobody overwrites
    channel_secrets = memoryview(state.channel_secrets.peek())
    secrets_by_peer = {
        peer: channel_secrets[k * KEY_BYTES : (k + 1) * KEY_BYTES] for k, peer in enumerate(peers)
    }
    for dealer, one in delivered.items():
        try:
            held[dealer] = _open_pair(state, dealer, secrets_by_peer[dealer], one.dealt)
        except ProtocolError:
            return _complain(state, dealer, transcript_hash)

    # claimed on disk before the masked vector exists: a crash in between costs a round, never a second mask
    site.journal.claim_roster(policy.model_hash, policy.roster.members)
    site.journal.claim_vector(policy.model_hash, vector_hash(site.identity, policy, state.encoded.peek()))
    site.journal.claim_update(policy.task.federation, policy.task.counter, policy.model_hash, policy.round_id)
    encoded, mask, seed = state.encoded.take(), state.mask_key.take(), state.self_mask_seed.take()
    # y_i = x_i + G(b_i) + sum of signed pair masks; then every secret is wiped
    publics = {peer: state.public_keys[peer].mask_public for peer in delivered}
    vector = masks.mask_vector(encoded, mask, seed, publics, transcript_hash, own)
    reply = site.reply(MessageType.MASKED, vector.view(np.uint8).data, transcript_hash)
    for buffer in (mask, seed):
        wipe(buffer)
    for secret in (state.channel_seed, state.channel_secrets, state.own_share):
        secret.erase()
    packed = Secret(b"".join(pack_pair(held[i]) for i in sorted(held)))
    return Masked(site, packed, sharing, state.graph, transcript_hash), reply


def _require_signed(state: SharesSent, delivered: Mapping[int, DeliveredShares]) -> None:
    """Refuse a delivery in which a pair of shares is not what its dealer signed.

    Nobody but the server is to blame then.
    """
    policy = state.context.policy
    for dealer, one in delivered.items():
        root = one.root(dealer, state.context.index, state.graph)
        try:
            check_signature(MessageType.SHARES, policy, dealer, root, state.transcript_hash, one.signature)
        except ProtocolError as error:
            raise ProtocolError(
                f"the signature of {policy.roster.names[dealer]!r} on the shares that it dealt this site "
                "does not hold; expected what it dealt, unchanged: leave this round"
            ) from error


def _open_pair(state: SharesSent, dealer: int, secret: memoryview, dealt: HolderShares) -> SharePair:
    """The pair of shares that a peer dealt this site, if it is as it should be."""
    own = state.context.index
    key = dealing.channel_key(secret, state.transcript_hash, dealer, own)
    return dealing.open_dealt(state.context.policy, state.transcript_hash, dealer, own, key, dealt)


def _complain(state: SharesSent, dealer: int, transcript_hash: bytes) -> tuple[Done, bytes]:
    """Reveal the one key that shows what a dealer sealed, and leave the round with everything else erased."""
    slot = state.graph.slot(state.context.index, dealer)
    private = dealing.channel_private(state.channel_seed.peek(), slot)
    reply = state.context.reply(
        MessageType.COMPLAINT, pack_complaint(Complaint(dealer, private)), transcript_hash
    )
    for secret in (
        state.encoded,
        state.channel_seed,
        state.channel_secrets,
        state.mask_key,
        state.self_mask_seed,
        state.own_share,
    ):
        secret.erase()
    return Done(state.context), reply


def vector_hash(identity: Identity, policy: Policy, encoded: EncodedVector) -> bytes:
    """Return a tag of this site's words, under a key of its own for each model.

    Without its signing key nobody can tell from the journal which of two guesses it sent. A tag is enough
    since the site tags its own vectors: two of them agree with a chance below 2^-100.
    """
    key = tagged_hash("vector key", bytes(identity.private.peek()), policy.model_hash)
    return tagged_hash("vector", authenticate(key, np.ascontiguousarray(encoded).view(np.uint8).data))
