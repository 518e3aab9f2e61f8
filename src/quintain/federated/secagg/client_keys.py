"""The first step of a site: it checks the server's offer and sends the public keys of this round."""

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from quintain.federated.secagg import dealing, transcript
from quintain.federated.secagg.client_states import Joined, Ready, RoundContext
from quintain.federated.secagg.keys import RoundKeys, new_private_key, public_half
from quintain.federated.secagg.message_bodies import check_offer, pack_keys
from quintain.federated.secagg.messages import MessageType, open_server
from quintain.federated.secagg.primitives import SIGNATURE_BYTES, load_x25519
from quintain.federated.secagg.secret import LoadedKeys, Secret


def send_keys(state: Ready, message: bytes) -> tuple[Joined, bytes]:
    """Check the offer; send fresh public keys."""
    site = state.context
    check_offer(open_server(message, MessageType.OFFER, site.policy), site.policy)
    channel_seed, mask_key = new_private_key(site.entropy), new_private_key(site.entropy)
    channel_keys = _channel_keys(site, channel_seed)
    public = RoundKeys(
        public_half(mask_key),
        {slot: one.public_key().public_bytes_raw() for slot, one in channel_keys.items()},
    )
    reply = site.reply(MessageType.KEYS, pack_keys(public), transcript.begin(site.policy))
    joined = Joined(
        context=site,
        encoded=state.encoded.move(),
        channel_seed=channel_seed,
        channel_keys=LoadedKeys(channel_keys),
        mask_key=mask_key,
        public_keys=public,
        signature=reply[-SIGNATURE_BYTES:],
    )
    return joined, reply


def _channel_keys(site: RoundContext, channel_seed: Secret) -> dict[int, X25519PrivateKey]:
    """This site's private channel keys: one for each other site in the roster.

    In a sparse graph there is one for each neighbor that it may get.
    """
    graph, seed = site.policy.sparse_graph, channel_seed.peek()
    slots = (
        (i for i in range(len(site.policy.roster)) if i != site.index)
        if graph is None
        else range(graph.degree)
    )
    return {slot: load_x25519(dealing.channel_private(seed, slot)) for slot in slots}
