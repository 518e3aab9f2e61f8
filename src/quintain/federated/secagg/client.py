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
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import singledispatch

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from quintain.core.errors import ProtocolError
from quintain.federated.secagg import dealing, masks, transcript
from quintain.federated.secagg.dealing import Dealt, ShareHashes, SharePair, SharesForHolder
from quintain.federated.secagg.encoding import WORD_DTYPE, EncodedVector, check_types
from quintain.federated.secagg.journal import Journal
from quintain.federated.secagg.key_list import KeyList, keys_hash, read_key_list
from quintain.federated.secagg.keys import Identity, RoundKeys, new_private_key, public_half
from quintain.federated.secagg.mask_graph import MaskGraph
from quintain.federated.secagg.messages import (
    Complaint,
    DealtShares,
    MessageType,
    SiteSet,
    check_offer,
    check_signature,
    from_site,
    open_server,
    pack_complaint,
    pack_keys,
    pack_shares,
    pack_unmask,
    parse_delivery,
    parse_set,
    parse_signatures,
)
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.primitives import (
    KEY_BYTES,
    SIGNATURE_BYTES,
    authenticate,
    load_ed25519,
    load_x25519,
    tagged_hash,
    x25519,
)
from quintain.federated.secagg.secret import LoadedKeys, Secret, wipe
from quintain.federated.secagg.shamir import SHARE_BYTES, Entropy, make_shares, random_bytes


@dataclass(frozen=True, slots=True)
class RoundContext:
    """The context of a site in a round: what stays the same over all its states."""

    policy: Policy
    identity: Identity
    index: int
    journal: Journal = field(repr=False)
    entropy: Entropy = field(repr=False)

    def reply(self, kind: MessageType, body: bytes | memoryview, transcript_hash: bytes) -> bytes:
        """A signed message of this site."""
        return from_site(kind, self.policy, self.index, body, transcript_hash, self.identity)


@dataclass(frozen=True, slots=True)
class Ready:
    """The site has a vector and waits for an offer."""

    context: RoundContext
    encoded: Secret


@dataclass(frozen=True, slots=True)
class Joined:
    """Has sent its keys; ``channel_seed`` is that of its private channel keys, which are loaded by peer."""

    context: RoundContext
    encoded: Secret
    channel_seed: Secret
    channel_keys: LoadedKeys
    mask_key: Secret
    public_keys: RoundKeys
    signature: bytes


@dataclass(frozen=True, slots=True)
class SharesSent:
    """Has sealed its shares; ``own_share`` holds the one that it keeps.

    ``members`` take part, and ``public_keys`` are those of this site and of its neighbors among them.
    ``channel_secrets`` are those that it has with each of these, in order.
    """

    context: RoundContext
    encoded: Secret
    channel_seed: Secret
    channel_secrets: Secret
    mask_key: Secret
    self_mask_seed: Secret
    own_share: Secret
    public_keys: Mapping[int, RoundKeys]
    members: SiteSet
    graph: MaskGraph
    transcript_hash: bytes


@dataclass(frozen=True, slots=True)
class Masked:
    """Has sent its masked vector; ``held_shares`` are of itself and its neighbors that share, in order."""

    context: RoundContext
    held_shares: Secret
    sharers: SiteSet
    graph: MaskGraph
    transcript_hash: bytes


@dataclass(frozen=True, slots=True)
class Agreed:
    """Has signed the survivors."""

    context: RoundContext
    held_shares: Secret
    sharers: SiteSet
    survivors: SiteSet
    signature: bytes
    graph: MaskGraph
    transcript_hash: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """Has answered or complained; nothing secret is left."""

    context: RoundContext


State = Ready | Joined | SharesSent | Masked | Agreed | Done


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
        encoded: (encoding.num_words,) its encoded vector. A round over a model over which it has masked one
            before, such as after an abandoned round, takes that one again, bit for bit: keep it until the
            model moves.
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
    if journal.answered(policy.round_id):
        raise ProtocolError(
            f"round {policy.round_id.hex()} was unmasked before; join a new round with a new id"
        )
    return Ready(
        RoundContext(policy, identity, index, journal, entropy), Secret(np.ascontiguousarray(encoded).data)
    )


@singledispatch
def step(state: State, message: bytes) -> tuple[State, bytes]:  # noqa: ARG001
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
    raise ProtocolError(
        f"this site is {type(state).__name__.lower()} and takes no further message: start a new round"
    )


@step.register
def _(state: Ready, message: bytes) -> tuple[Joined, bytes]:
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


@step.register
def _(state: Joined, message: bytes) -> tuple[SharesSent, bytes]:
    site = state.context
    policy, own = site.policy, site.index
    body = open_server(message, MessageType.KEY_LIST, policy)
    listed = _checked_keys(state, body)
    keys, graph, transcript_hash = listed.keys, listed.graph, listed.transcript_hash
    peers = tuple(i for i in keys if i != own)
    _require_neighbors("take part", peers, graph)
    channel_keys = state.channel_keys.peek()
    channel_secrets = {
        i: x25519(channel_keys[graph.slot(own, i)], keys[i].channel_public[own]) for i in peers
    }

    # deal a share of the mask key and of the self-mask seed to each peer, sealed and signed
    seed = random_bytes(site.entropy, KEY_BYTES)
    points = [i + 1 for i in sorted({own, *peers})]
    key_shares = make_shares(
        int.from_bytes(state.mask_key.peek(), "big"), graph.threshold, points, site.entropy
    )
    seed_shares = make_shares(int.from_bytes(seed, "big"), graph.threshold, points, site.entropy)
    pairs = {i: (key_shares[i + 1], seed_shares[i + 1]) for i in (own, *peers)}
    signing = load_ed25519(site.identity.private.peek())
    dealt = {
        i: dealing.deal(
            signing,
            transcript_hash,
            own,
            i,
            dealing.channel_key(channel_secrets[i], transcript_hash, own, i),
            SharesForHolder(own, i, policy.round_id, *pairs[i]),
        )
        for i in peers
    }

    sharing = DealtShares(
        dealing.seed_commitment(transcript_hash, own, seed),
        ShareHashes.of_pair(transcript_hash, own, own, pairs[own]),
        dealt,
    )
    reply = site.reply(MessageType.SHARES, pack_shares(sharing, len(policy.roster)), transcript_hash)
    kept = Secret(_pack_pair(pairs[own]))
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


@step.register
def _(state: SharesSent, message: bytes) -> tuple[Masked | Done, bytes]:
    site = state.context
    policy, own = site.policy, site.index
    sharing, dealt = parse_delivery(
        open_server(message, MessageType.DELIVERY, policy),
        own,
        len(policy.roster),
        state.graph.neighbors(own),
    )
    _require_members("sites have shared", sharing, within=state.members, minimum=policy.threshold, site=site)
    _require_neighbors("have shared", tuple(dealt), state.graph)
    _require_signed(state, dealt)
    transcript_hash = transcript.append_sharers(state.transcript_hash, sharing, len(policy.roster))
    # open what each peer dealt; the first bad share ends the round for this site
    held = {own: _unpack_pair(state.own_share.peek())}
    peers = [i for i in state.public_keys if i != own]
    packed_secrets = state.channel_secrets.peek()
    secrets_by_peer = {
        peer: packed_secrets[k * KEY_BYTES : (k + 1) * KEY_BYTES] for k, peer in enumerate(peers)
    }
    for dealer in dealt:
        try:
            held[dealer] = _opened_pair(state, dealer, secrets_by_peer[dealer], dealt[dealer])
        except ProtocolError:
            return _complain(state, dealer, transcript_hash)

    # claimed on disk before the masked vector exists: a crash in between costs a round, never a second mask
    site.journal.claim_roster(policy.model_hash, policy.roster.members)
    site.journal.claim_vector(policy.model_hash, vector_hash(site.identity, policy, state.encoded))
    site.journal.claim_update(policy.task.federation, policy.task.counter, policy.model_hash, policy.round_id)
    encoded, mask, seed = state.encoded.take(), state.mask_key.take(), state.self_mask_seed.take()
    # y_i = x_i + G(b_i) + sum of signed pair masks, in place; then every secret is wiped
    vector = np.frombuffer(encoded, WORD_DTYPE)
    masks.add_self_mask(vector, seed, transcript_hash, own)
    publics = {peer: state.public_keys[peer].mask_public for peer in dealt}
    masks.add_pair_masks(vector, mask, publics, transcript_hash, own)
    reply = site.reply(MessageType.MASKED, memoryview(encoded), transcript_hash)
    for buffer in (encoded, mask, seed):
        wipe(buffer)
    for secret in (state.channel_seed, state.channel_secrets, state.own_share):
        secret.erase()
    packed = Secret(b"".join(_pack_pair(held[i]) for i in sorted(held)))
    return Masked(site, packed, sharing, state.graph, transcript_hash), reply


@step.register
def _(state: Masked, message: bytes) -> tuple[Agreed, bytes]:
    site = state.context
    num_sites = len(site.policy.roster)
    survivors = parse_set(open_server(message, MessageType.SURVIVORS, site.policy), num_sites)
    _require_members(
        "sites survived", survivors, within=state.sharers, minimum=site.policy.min_survivors, site=site
    )
    if weakness := state.graph.weakness(survivors, site.policy.roster.names):
        raise ProtocolError(f"{weakness}: leave this round")
    cohort = cohort_hash(site.policy, survivors)
    if state.graph.is_complete:
        site.journal.check_cohort(site.policy.model_hash, cohort)
    else:  # fewer than t answers open this sum: the t signatures must bind in their place
        site.journal.claim_cohort(site.policy.model_hash, cohort)
    transcript_hash = transcript.append_survivors(state.transcript_hash, survivors, num_sites)
    reply = site.reply(MessageType.CONSISTENCY, b"", transcript_hash)
    agreed = Agreed(
        context=site,
        held_shares=state.held_shares.move(),
        sharers=state.sharers,
        survivors=survivors,
        signature=reply[-SIGNATURE_BYTES:],
        graph=state.graph,
        transcript_hash=transcript_hash,
    )
    return agreed, reply


@step.register
def _(state: Agreed, message: bytes) -> tuple[Done, bytes]:
    site = state.context
    policy = site.policy
    _check_signatures(
        state, parse_signatures(open_server(message, MessageType.SIGNATURES, policy), len(policy.roster))
    )
    packed = state.held_shares.take()
    pairs = {
        i: _unpack_pair(packed[k * 2 * SHARE_BYTES : (k + 1) * 2 * SHARE_BYTES])
        for k, i in enumerate(state.graph.near(site.index, state.sharers))
    }
    wipe(packed)
    site.journal.claim_answer(policy.round_id, policy.model_hash, cohort_hash(policy, state.survivors))
    # of a survivor the share of its self-mask seed, of a dropout that of its mask key: never both
    survived = set(state.survivors)
    answer = {i: seed_share if i in survived else key_share for i, (key_share, seed_share) in pairs.items()}
    return Done(site), site.reply(MessageType.UNMASK, pack_unmask(answer), state.transcript_hash)


def _checked_keys(state: Joined, body: bytes) -> KeyList:
    """Return the list of keys, if all in it are signed and different, enough, and this site's are right."""
    site = state.context
    policy, own = site.policy, state.public_keys
    listed = read_key_list(policy, body, site.index)
    _require_members(
        "sites take part",
        listed.members,
        within=tuple(range(len(policy.roster))),
        minimum=policy.threshold,
        site=site,
    )
    told = (
        listed.entries[site.index].keys == own
        if listed.graph.is_complete
        else listed.hashes[site.index] == keys_hash(site.index, own)
    )
    if not told:
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


def _require_signed(state: SharesSent, dealt: Mapping[int, Dealt]) -> None:
    """Refuse a delivery in which a pair of shares is not what its dealer signed.

    Nobody but the server is to blame then.
    """
    policy = state.context.policy
    for dealer, pair in dealt.items():
        if not dealing.is_signed(policy, state.transcript_hash, dealer, state.context.index, pair):
            raise ProtocolError(
                f"the signature of {policy.roster.names[dealer]!r} on the shares that it dealt this site "
                "does not hold; expected what it dealt, unchanged: leave this round"
            )


def _opened_pair(state: SharesSent, dealer: int, secret: bytearray, dealt: Dealt) -> SharePair:
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


def _check_signatures(state: Agreed, signatures: Mapping[int, bytes]) -> None:
    """Refuse unless at least t survivors signed exactly the list that this site signed."""
    policy = state.context.policy
    if not set(signatures) <= set(state.survivors) or len(signatures) < policy.threshold:
        raise ProtocolError(
            f"{len(signatures)} signatures on the survivors; expected {policy.threshold} or more, all of "
            "survivors: leave this round"
        )
    for i, signature in signatures.items():
        if i == state.context.index and signature == state.signature:
            continue
        check_signature(MessageType.CONSISTENCY, policy, i, b"", state.transcript_hash, signature)


def _require_members(
    what: str, members: SiteSet, *, within: SiteSet, minimum: int, site: RoundContext
) -> None:
    """Refuse a list that is too short, leaves this site out, or names one that was not listed before."""
    strange = set(members) - set(within)
    if strange or site.index not in members or len(members) < minimum:
        reason = (
            "it names sites that were not listed before"
            if strange
            else "this site is missing"
            if site.index not in members
            else ""
        )
        raise ProtocolError(
            f"{len(members)} {what}{f', and {reason}' * bool(reason)}; this site's policy asks for "
            f"{minimum}: leave this round"
        )


def _require_neighbors(what: str, neighbors: SiteSet, graph: MaskGraph) -> None:
    """Refuse a list with too few neighbors of this site; where all are neighbors the list itself counts."""
    if not graph.is_complete and len(neighbors) < graph.threshold:
        raise ProtocolError(
            f"{len(neighbors)} of this site's neighbors {what}; expected {graph.threshold} or more, since "
            "fewer would not hide its vector: leave this round"
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


def vector_hash(identity: Identity, policy: Policy, encoded: Secret) -> bytes:
    """Return a tag of this site's words, under a key of its own for each model.

    Without its signing key nobody can tell from the journal which of two guesses it sent. A tag is enough
    since the site tags its own vectors: two of them agree with a chance below 2^-100.
    """
    key = tagged_hash("vector key", bytes(identity.private.peek()), policy.model_hash)
    return tagged_hash("vector", authenticate(key, encoded.peek()))


def cohort_hash(policy: Policy, survivors: SiteSet) -> bytes:
    """Return a hash of who survived and of what they sum.

    By the identities themselves, so that no other roster spells the same sites in another way; and by the
    terms, since two sums of one cohort under other weights, or another clip, subtract to a site's update as
    well.
    """
    return tagged_hash("cohort", policy.computes, *sorted(policy.roster.keys[i] for i in survivors))


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


def _pack_pair(pair: SharePair) -> bytes:
    return b"".join(value.to_bytes(SHARE_BYTES, "big") for value in pair)


def _unpack_pair(data: bytes | bytearray) -> SharePair:
    return int.from_bytes(data[:SHARE_BYTES], "big"), int.from_bytes(data[SHARE_BYTES:], "big")
