"""The second step of a site: it checks the list of keys and deals shares of its secrets to its peers."""

from quintain.core.errors import ProtocolError
from quintain.federated.secagg import dealing, transcript
from quintain.federated.secagg.client_checks import require_members, require_neighbors
from quintain.federated.secagg.client_states import Joined, SharesSent
from quintain.federated.secagg.dealing import ShareHashes, pack_pair
from quintain.federated.secagg.key_list import KeyList, keys_hash, read_key_list
from quintain.federated.secagg.message_bodies import pack_keys
from quintain.federated.secagg.messages import MessageType, check_signature, open_server
from quintain.federated.secagg.primitives import KEY_BYTES, x25519
from quintain.federated.secagg.secret import Secret
from quintain.federated.secagg.shamir import make_shares, random_bytes
from quintain.federated.secagg.share_messages import DealtShares, pack_shares
from quintain.federated.secagg.share_tree import root, tree_depth


def send_shares(state: Joined, message: bytes) -> tuple[SharesSent, bytes]:
    """Check the list of keys; deal shares of the mask key and of a fresh self-mask seed."""
    site = state.context
    policy, own = site.policy, site.index
    body = open_server(message, MessageType.KEY_LIST, policy)
    listed = _check_keys(state, body)
    keys, graph, transcript_hash = listed.keys, listed.graph, listed.transcript_hash
    peers = tuple(i for i in keys if i != own)
    require_neighbors("take part", peers, graph)
    channel_keys = state.channel_keys.peek()
    channel_secrets = {
        i: x25519(channel_keys[graph.slot(own, i)], keys[i].channel_public[own]) for i in peers
    }

    # deal a share of the mask key and of the self-mask seed to each peer, sealed; one signature for all
    seed = random_bytes(site.entropy, KEY_BYTES)
    points = [i + 1 for i in sorted({own, *peers})]
    key_shares = make_shares(
        int.from_bytes(state.mask_key.peek(), "big"), graph.threshold, points, site.entropy
    )
    seed_shares = make_shares(int.from_bytes(seed, "big"), graph.threshold, points, site.entropy)
    pairs = {i: (key_shares[i + 1], seed_shares[i + 1]) for i in (own, *peers)}
    dealt = {
        i: dealing.deal(
            transcript_hash,
            own,
            i,
            dealing.channel_key(channel_secrets[i], transcript_hash, own, i),
            pairs[i],
        )
        for i in peers
    }

    sharing = DealtShares(
        dealing.seed_commitment(transcript_hash, own, seed),
        ShareHashes.of_pair(transcript_hash, own, own, pairs[own]),
        dealt,
    )
    reply = site.reply(
        MessageType.SHARES,
        pack_shares(sharing, len(policy.roster)),
        transcript_hash,
        root=root(sharing.tree(own, graph, tree_depth(policy))),
    )
    kept = Secret(pack_pair(pairs[own]))
    state.channel_keys.erase()
    return SharesSent(
        context=site,
        encoded=state.encoded.move(),
        channel_seed=state.channel_seed.move(),
        channel_secrets=Secret(b"".join(channel_secrets.values())),
        mask_key=state.mask_key.move(),
        self_mask_seed=Secret(seed),
        own_share=kept,
        public_keys=keys,
        members=listed.members,
        graph=graph,
        transcript_hash=transcript_hash,
    ), reply


def _check_keys(state: Joined, body: bytes) -> KeyList:
    """Return the list of keys, if all in it are signed and different, enough, and this site's are right."""
    site = state.context
    policy, own = site.policy, state.public_keys
    listed = read_key_list(policy, body, site.index)
    require_members(
        "sites take part",
        listed.members,
        within=tuple(range(len(policy.roster))),
        minimum=policy.threshold,
        site=site,
    )
    has_own_keys = (
        listed.entries[site.index].keys == own
        if listed.graph.is_complete
        else listed.hashes[site.index] == keys_hash(site.index, own)
    )
    if not has_own_keys:
        raise ProtocolError(
            "the server lists other keys for this site than it sent; expected its own: leave this round"
        )
    flat = [key for entry in listed.entries.values() for key in entry.keys.all]
    flat += () if listed.graph.is_complete else own.all
    if len(set(flat)) < len(flat):
        raise ProtocolError(
            "a key stands twice in the list of keys; expected fresh keys from every site: leave this round"
        )
    for i, entry in listed.entries.items():
        if i == site.index and entry.signature == state.signature:
            continue
        check_signature(
            MessageType.KEYS, policy, i, pack_keys(entry.keys), transcript.begin(policy), entry.signature
        )
    return listed
