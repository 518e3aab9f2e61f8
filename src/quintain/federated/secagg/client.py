"""A site's side of a round, as a pure machine: ``step(state, message) -> (state, reply)``.

========  ==============  ==================================================================  ==============================
state     server's word   checked before anything leaves                                      reply
========  ==============  ==================================================================  ==============================
Ready     OFFER           every term equals this site's policy                                KEYS: fresh public keys
Joined    KEY_LIST        >= t sites, pinned signatures, no key twice, own keys unchanged      SHARES: sealed, for each site
Shared    DELIVERY        listed sites only, >= t, each share signed, opens and has its hash  MASKED: the vector, or COMPLAINT
Masked    SURVIVORS       sharing sites only, this one too, >= t and >= the policy's minimum   AGREE: signature on the list
Agreed    CONSENT         >= t signatures of survivors on this very list                      UNMASK: one share a site
========  ==============  ==================================================================  ==============================

A secret leaves its state when the step is taken, so that an old state cannot be stepped again; a refused message changes nothing. A site
that was dealt a bad share sends no vector: it proves who dealt it (``secagg.dealing`` says how), and leaves the round.
Across rounds the journal stands guard: the roster over this model and the update are claimed before MASKED leaves, survivors that it has
opened others than are not signed, and the round with its survivors is claimed before UNMASK leaves.
Source: Bonawitz et al., 2017, ePrint 2017/281, the variant for a malicious server.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import singledispatch

import numpy as np

from quintain.core.errors import ProtocolError
from quintain.federated.secagg import dealing, masks, transcript
from quintain.federated.secagg.dealing import Dealt, Hashes, Pair, Share
from quintain.federated.secagg.encoding import WORD, Words, check_types
from quintain.federated.secagg.journal import Journal
from quintain.federated.secagg.keys import Identity, RoundKeys, fresh_key, public_half
from quintain.federated.secagg.messages import (
    Complaint,
    Kind,
    Members,
    Sharing,
    check_offer,
    check_signature,
    from_site,
    open_server,
    pack_complaint,
    pack_keys,
    pack_shares,
    pack_unmask,
    pack_words,
    parse_consent,
    parse_delivery,
    parse_key_list,
    parse_set,
)
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.primitives import KEY_BYTES, bind, exchange_public
from quintain.federated.secagg.secret import Secret, wipe
from quintain.federated.secagg.shamir import SHARE_BYTES, Entropy, draw, split


@dataclass(frozen=True, slots=True)
class Site:
    """What stays the same over a round."""

    policy: Policy
    identity: Identity
    index: int
    journal: Journal = field(repr=False)
    entropy: Entropy = field(repr=False)

    def reply(self, kind: Kind, body: bytes, link: bytes) -> bytes:
        """A signed message of this site."""
        return from_site(kind, self.policy, self.index, body, link, self.identity)


@dataclass(frozen=True, slots=True)
class Ready:
    """Has a vector, waits for an offer."""

    site: Site
    words: Secret


@dataclass(frozen=True, slots=True)
class Joined:
    """Has sent its keys; ``channel`` is the seed of its private channel keys."""

    site: Site
    words: Secret
    channel: Secret
    mask: Secret


@dataclass(frozen=True, slots=True)
class Shared:
    """Has sealed its shares; ``own`` holds the one that it keeps."""

    site: Site
    words: Secret
    channel: Secret
    mask: Secret
    seed: Secret
    own: Secret
    keys: Mapping[int, RoundKeys]
    link: bytes


@dataclass(frozen=True, slots=True)
class Masked:
    """Has sent its masked vector; ``held`` are the shares of all sharing sites, in their order."""

    site: Site
    held: Secret
    sharing: Members
    link: bytes


@dataclass(frozen=True, slots=True)
class Agreed:
    """Has signed the survivors."""

    site: Site
    held: Secret
    sharing: Members
    survivors: Members
    link: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """Has answered or complained; nothing secret is left."""

    site: Site


State = Ready | Joined | Shared | Masked | Agreed | Done


def ready(policy: Policy, identity: Identity, words: Words, journal: Journal, *, entropy: Entropy = secrets.token_bytes) -> Ready:
    """A site that is about to take part.

    Args:
        policy: This site's own terms.
        identity: Its signing key, which the policy's roster must list under its name.
        words: (encoding.words,) its encoded vector.
        journal: What it remembers beyond this round, one for the site's whole life: what it has masked and whose sums it has opened.
        entropy: Random bytes by number; the operating system's unless a test needs others.

    Raises:
        ProtocolError: If the roster lists another key, the vector does not fit, or the round was answered before.
        SettingError: If policy, identity or journal are of another type.
    """
    check_types(Policy, policy=policy)
    check_types(Identity, identity=identity)
    check_types(Journal, journal=journal)
    index = policy.roster.index(identity.name)
    if policy.roster.keys[index] != identity.public:
        raise ProtocolError(f"the roster lists another key for {identity.name!r}; expected this site's own: enrol again")
    _check_words(words, policy.encoding.words)
    if journal.answered(policy.round_id):
        raise ProtocolError(f"round {policy.round_id.hex()} was unmasked before; join a new round with a new id")
    return Ready(Site(policy, identity, index, journal, entropy), Secret(words.tobytes()))


@singledispatch
def step(state: State, message: bytes) -> tuple[State, bytes]:  # noqa: ARG001
    """The next state and the reply to the server's message.

    Raises:
        ProtocolError: If the message is refused; the state is still good for a proper one, unless its secrets were used.

    Guarantee: if at most ``corrupt`` sites side with the server, then whatever it sends, it learns of the others at most one sum: over
    those of them in one list of at least ``minimum`` survivors; and over all rounds with one model hash, sums over one list and under
    one set of terms only for each roster, and over rosters with no honest site in common, so that no two of them subtract to a few
    sites (see ``journal``; rounds over different models are not covered).
    Where the task tells public weights, no site's stands out more than one of two equals (see ``weights``). Assumes that X25519,
    HKDF-SHA256, AES-256 and Ed25519 are secure, that each site's entropy is uniform, that its journal lasts, and that the roster is
    right. Not promised: constant time, a true sum if a site lies about its own vector, or that the sum itself tells nothing.
    """
    raise ProtocolError(f"this site is {type(state).__name__.lower()} and takes no further message: start a new round")


@step.register
def _(state: Ready, message: bytes) -> tuple[Joined, bytes]:
    site = state.site
    check_offer(open_server(message, Kind.OFFER, site.policy), site.policy)
    joined = Joined(site, state.words.move(), fresh_key(site.entropy), fresh_key(site.entropy))
    return joined, site.reply(Kind.KEYS, pack_keys(_publics(joined)), transcript.opened(site.policy))


@step.register
def _(state: Joined, message: bytes) -> tuple[Shared, bytes]:
    site = state.site
    policy, own = site.policy, site.index
    body = open_server(message, Kind.KEY_LIST, policy)
    keys = _checked_keys(state, body)
    link = transcript.with_keys(policy, body)
    peers = tuple(i for i in keys if i != own)
    sealing = {i: _channel_key(state.channel, keys[i], link, own=own, dealer=own, holder=i) for i in peers}

    seed = draw(site.entropy, KEY_BYTES)
    points = [i + 1 for i in range(len(policy.roster))]
    key_shares = split(int.from_bytes(state.mask.peek(), "big"), policy.threshold, points, site.entropy)
    seed_shares = split(int.from_bytes(seed, "big"), policy.threshold, points, site.entropy)
    pairs = {i: (key_shares[i + 1], seed_shares[i + 1]) for i in keys}
    dealt = {i: dealing.deal(site.identity, link, own, i, sealing[i], Share(own, i, policy.round_id, *pairs[i])) for i in peers}

    sharing = Sharing(dealing.commitment(link, own, seed), Hashes.of(link, own, own, pairs[own]), dealt)
    reply = site.reply(Kind.SHARES, pack_shares(sharing, len(policy.roster)), link)
    kept = Secret(_pack_pair(pairs[own]))
    return Shared(site, state.words.move(), state.channel.move(), state.mask.move(), Secret(seed), kept, keys, link), reply


@step.register
def _(state: Shared, message: bytes) -> tuple[Masked | Done, bytes]:
    site = state.site
    policy, own = site.policy, site.index
    sharing, dealt = parse_delivery(open_server(message, Kind.DELIVERY, policy), own, len(policy.roster))
    _require_set("sites have shared", sharing, within=tuple(state.keys), least=policy.threshold, site=site)
    _require_signed(state, dealt)
    link = transcript.with_shares(state.link, sharing, len(policy.roster))
    held = {own: _unpack_pair(state.own.peek())}
    for dealer in dealt:
        try:
            held[dealer] = _opened_pair(state, dealer, dealt[dealer])
        except ProtocolError:
            return _complain(state, dealer, link)

    site.journal.claim_roster(policy.model_hash, policy.roster.members)
    site.journal.claim_update(policy.task.federation, policy.task.counter, policy.model_hash, policy.round_id)
    words, mask, seed = state.words.take(), state.mask.take(), state.seed.take()
    vector = np.frombuffer(words, WORD)
    masks.add_self_mask(vector, seed, link, own)
    for peer in dealt:
        masks.add_pair_mask(vector, mask, state.keys[peer].mask, link, own, peer)
    reply = site.reply(Kind.MASKED, pack_words(vector), link)
    del vector
    for buffer in (words, mask, seed):
        wipe(buffer)
    state.channel.erase()
    state.own.erase()
    return Masked(site, Secret(b"".join(_pack_pair(held[i]) for i in sharing)), sharing, link), reply


@step.register
def _(state: Masked, message: bytes) -> tuple[Agreed, bytes]:
    site = state.site
    parties = len(site.policy.roster)
    survivors = parse_set(open_server(message, Kind.SURVIVORS, site.policy), parties)
    _require_set("sites survived", survivors, within=state.sharing, least=site.policy.minimum, site=site)
    site.journal.check_cohort(site.policy.model_hash, _cohort(site.policy, survivors))
    link = transcript.with_survivors(state.link, survivors, parties)
    held = state.held.move()
    return Agreed(site, held, state.sharing, survivors, link), site.reply(Kind.AGREE, b"", link)


@step.register
def _(state: Agreed, message: bytes) -> tuple[Done, bytes]:
    site = state.site
    policy = site.policy
    _check_consent(state, parse_consent(open_server(message, Kind.CONSENT, policy), len(policy.roster)))
    packed = state.held.take()
    pairs = {i: _unpack_pair(packed[k * 2 * SHARE_BYTES : (k + 1) * 2 * SHARE_BYTES]) for k, i in enumerate(state.sharing)}
    wipe(packed)
    site.journal.claim_answer(policy.round_id, policy.model_hash, _cohort(policy, state.survivors))
    survived = set(state.survivors)
    answer = {i: seed_share if i in survived else key_share for i, (key_share, seed_share) in pairs.items()}
    return Done(site), site.reply(Kind.UNMASK, pack_unmask(answer), state.link)


def _checked_keys(state: Joined, body: bytes) -> dict[int, RoundKeys]:
    """The listed keys, if they are all signed, all different, enough, and this site's own are as it sent them."""
    site = state.site
    policy = site.policy
    listed = parse_key_list(body, len(policy.roster))
    _require_set("sites take part", tuple(listed), within=tuple(range(len(policy.roster))), least=policy.threshold, site=site)
    if listed[site.index].keys != _publics(state):
        raise ProtocolError("the server lists other keys for this site than it sent; expected its own: leave this round")
    flat = [key for entry in listed.values() for key in entry.keys.all]
    if len(set(flat)) < len(flat):
        raise ProtocolError("a key stands twice in the list of keys; expected fresh keys from every site: leave this round")
    for i, entry in listed.items():
        check_signature(Kind.KEYS, policy, i, pack_keys(entry.keys), transcript.opened(policy), entry.signature)
    return {i: entry.keys for i, entry in listed.items()}


def _require_signed(state: Shared, dealt: Mapping[int, Dealt]) -> None:
    """Refuse a delivery in which a pair of shares is not what its dealer signed: then nobody but the server is to blame."""
    policy = state.site.policy
    for dealer, pair in dealt.items():
        if not dealing.is_signed(policy, state.link, dealer, state.site.index, pair):
            raise ProtocolError(
                f"the signature of {policy.roster.names[dealer]!r} on the shares that it dealt this site does not hold; "
                "expected what it dealt, unchanged: leave this round"
            )


def _opened_pair(state: Shared, dealer: int, dealt: Dealt) -> Pair:
    """The pair of shares that a peer dealt this site, if it is as it should be."""
    own = state.site.index
    key = _channel_key(state.channel, state.keys[dealer], state.link, own=own, dealer=dealer, holder=own)
    return dealing.open_dealt(state.site.policy, state.link, dealer, own, key, dealt)


def _complain(state: Shared, dealer: int, link: bytes) -> tuple[Done, bytes]:
    """Reveal the one key that shows what a dealer sealed, and leave the round with everything else erased."""
    private = dealing.channel_private(state.channel.peek(), dealer)
    reply = state.site.reply(Kind.COMPLAINT, pack_complaint(Complaint(dealer, private)), link)
    for secret in (state.words, state.channel, state.mask, state.seed, state.own):
        secret.erase()
    return Done(state.site), reply


def _check_consent(state: Agreed, signatures: Mapping[int, bytes]) -> None:
    """Refuse unless at least t survivors signed exactly the list that this site signed."""
    policy = state.site.policy
    if not set(signatures) <= set(state.survivors) or len(signatures) < policy.threshold:
        raise ProtocolError(
            f"{len(signatures)} signatures on the survivors; expected {policy.threshold} or more, all of survivors: leave this round"
        )
    for i, signature in signatures.items():
        check_signature(Kind.AGREE, policy, i, b"", state.link, signature)


def _require_set(what: str, members: Members, *, within: Members, least: int, site: Site) -> None:
    """Refuse a list that is too short, leaves this site out, or names one that was not listed before."""
    strange = set(members) - set(within)
    if strange or site.index not in members or len(members) < least:
        reason = "it names sites that were not listed before" if strange else "this site is missing" if site.index not in members else ""
        raise ProtocolError(
            f"{len(members)} {what}{f', and {reason}' * bool(reason)}; this site's policy asks for {least}: leave this round"
        )


def _check_words(words: object, length: int) -> None:
    """Refuse anything but an encoded vector of this length, without showing it."""
    if not isinstance(words, np.ndarray) or words.dtype != WORD or words.shape != (length,):
        got = f"{words.shape} of {words.dtype}" if isinstance(words, np.ndarray) else f"of type {type(words).__name__}"
        raise ProtocolError(f"words {got}; expected ({length},) of uint32, as Encoding.quantise makes them")


def _cohort(policy: Policy, survivors: Members) -> bytes:
    """A hash of who survived and of what they sum: the identities themselves, so that no other roster spells the same sites in another
    way; and the terms, since two sums of one cohort under other weights, or another clip, subtract to a site's update as well."""
    return bind("cohort", policy.computes, *sorted(policy.roster.keys[i] for i in survivors))


def _channel_key(seed: Secret, peer: RoundKeys, link: bytes, *, own: int, dealer: int, holder: int) -> bytes:
    """The key that seals what goes from ``dealer`` to ``holder``, one of which is this site."""
    other = holder if own == dealer else dealer
    return dealing.channel_key(dealing.channel_private(seed.peek(), other), peer.channel[own], link, dealer, holder)


def _publics(state: Joined) -> RoundKeys:
    """This site's public keys: of its mask key, and of its channel key for each other site in the roster."""
    own, seed = state.site.index, state.channel.peek()
    peers = (peer for peer in range(len(state.site.policy.roster)) if peer != own)
    return RoundKeys(public_half(state.mask), {peer: exchange_public(dealing.channel_private(seed, peer)) for peer in peers})


def _pack_pair(pair: Pair) -> bytes:
    return b"".join(value.to_bytes(SHARE_BYTES, "big") for value in pair)


def _unpack_pair(data: bytes | bytearray) -> Pair:
    return int.from_bytes(data[:SHARE_BYTES], "big"), int.from_bytes(data[SHARE_BYTES:], "big")
