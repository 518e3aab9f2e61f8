"""A site's side of a round, as a pure machine: ``step(state, message) -> (state, reply)``.

========  ==============  ==================================================================  ==============================
state     server's word   checked before anything leaves                                      reply
========  ==============  ==================================================================  ==============================
Ready     OFFER           every term equals this site's policy                                KEYS: two fresh public keys
Joined    KEY_LIST        >= t sites, pinned signatures, no key twice, own keys unchanged      SHARES: sealed, for each site
Shared    DELIVERY        listed sites only, >= t, every seal opens and names this pair       MASKED: the vector
Masked    SURVIVORS       sharing sites only, this one too, >= t and >= the policy's minimum   AGREE: signature on the list
Agreed    CONSENT         >= t signatures of survivors on this very list                      UNMASK: one share a site
========  ==============  ==================================================================  ==============================

A secret leaves its state when the step is taken, so that an old state cannot be stepped again; a refused message changes nothing.
Source: Bonawitz et al., 2017, ePrint 2017/281, the variant for a malicious server.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import singledispatch

import numpy as np

from quintain.core.errors import ProtocolError
from quintain.federated.secagg import masks, transcript
from quintain.federated.secagg.encoding import WORD, Words
from quintain.federated.secagg.journal import Journal
from quintain.federated.secagg.keys import Identity, RoundKeys, fresh_key, public_half
from quintain.federated.secagg.messages import (
    Kind,
    Members,
    Share,
    check_offer,
    check_signature,
    from_site,
    open_server,
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
from quintain.federated.secagg.primitives import KEY_BYTES, derive_key, exchange, seal, unseal
from quintain.federated.secagg.secret import Secret, wipe
from quintain.federated.secagg.shamir import PRIME, SHARE_BYTES, Entropy, split

Pair = tuple[int, int]


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
    """Has sent its keys."""

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
    """Has answered; nothing secret is left."""

    site: Site


State = Ready | Joined | Shared | Masked | Agreed | Done


def ready(policy: Policy, identity: Identity, words: Words, journal: Journal, *, entropy: Entropy = secrets.token_bytes) -> Ready:
    """A site that is about to take part.

    Args:
        policy: This site's own terms.
        identity: Its signing key, which the policy's roster must list under its name.
        words: (encoding.words,) its encoded vector.
        journal: Where it notes the rounds that it has answered.
        entropy: Random bytes by number; the operating system's unless a test needs others.

    Raises:
        ProtocolError: If the roster lists another key, the vector does not fit, or the round was answered before.
    """
    index = policy.roster.index(identity.name)
    if policy.roster.keys[index] != identity.public:
        raise ProtocolError(f"the roster lists another key for {identity.name!r}; expected this site's own: enrol again")
    if words.dtype != WORD or words.shape != (policy.encoding.words,):
        raise ProtocolError(
            f"words {words.shape} of {words.dtype}; expected ({policy.encoding.words},) of uint32, as Encoding.quantise makes them"
        )
    if journal.answered(policy.round_id):
        raise ProtocolError(f"round {policy.round_id.hex()} was unmasked before; join a new round with a new id")
    return Ready(Site(policy, identity, index, journal, entropy), Secret(words.tobytes()))


@singledispatch
def step(state: State, message: bytes) -> tuple[State, bytes]:
    """The next state and the reply to the server's message.

    Raises:
        ProtocolError: If the message is refused; the state is still good for a proper one, unless its secrets were used.

    Guarantee: if at most ``corrupt`` sites side with the server, then whatever it sends, it learns of the others at most one sum: over
    those of them in one list of at least ``minimum`` survivors. Assumes that X25519, HKDF-SHA256, AES-256 and Ed25519 are secure, that
    each site's entropy is uniform and that the roster is right. Not promised: constant time, a true sum if a site lies about its own
    vector, or that the sum itself tells nothing.
    """
    raise ProtocolError(
        f"this site is {type(state).__name__.lower()} and takes no further message ({len(message)} bytes): start a new round"
    )


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
    sealing = {i: _channel_key(state.channel, keys[i], link, own, i) for i in peers}

    seed = site.entropy(KEY_BYTES)
    points = [i + 1 for i in range(len(policy.roster))]
    key_shares = split(int.from_bytes(state.mask.peek(), "big"), policy.threshold, points, site.entropy)
    seed_shares = split(int.from_bytes(seed, "big"), policy.threshold, points, site.entropy)
    shares = {i: Share(own, i, policy.round_id, key_shares[i + 1], seed_shares[i + 1]) for i in keys}
    sealed = {i: seal(sealing[i], shares[i].pack(), transcript.channel(link, own, i)) for i in peers}

    reply = site.reply(Kind.SHARES, pack_shares(sealed, transcript.commitment(link, own, seed), len(policy.roster)), link)
    kept = Secret(_pack_pair((shares[own].key_share, shares[own].seed_share)))
    return Shared(site, state.words.move(), state.channel.move(), state.mask.move(), Secret(seed), kept, keys, link), reply


@step.register
def _(state: Shared, message: bytes) -> tuple[Masked, bytes]:
    site = state.site
    policy, own = site.policy, site.index
    sharing, sealed = parse_delivery(open_server(message, Kind.DELIVERY, policy), own, len(policy.roster))
    _require_set("sites have shared", sharing, within=tuple(state.keys), least=policy.threshold, site=site)
    held = {i: _opened_share(state, i, sealed[i]) for i in sealed} | {own: _unpack_pair(state.own.peek())}
    link = transcript.with_shares(state.link, sharing, len(policy.roster))

    words, mask, seed = state.words.take(), state.mask.take(), state.seed.take()
    vector = np.frombuffer(words, WORD)
    masks.add_self_mask(vector, seed, link, own)
    for peer in sealed:
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
    site.journal.claim(policy.round_id)
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
    flat = [key for entry in listed.values() for key in (entry.keys.channel, entry.keys.mask)]
    if len(set(flat)) < len(flat):
        raise ProtocolError("a key stands twice in the list of keys; expected fresh keys from every site: leave this round")
    for i, entry in listed.items():
        check_signature(Kind.KEYS, policy, i, pack_keys(entry.keys), transcript.opened(policy), entry.signature)
    return {i: entry.keys for i, entry in listed.items()}


def _opened_share(state: Shared, sender: int, sealed: bytes) -> Pair:
    """The pair of shares that a peer sealed for this site, if it says so inside as well."""
    site = state.site
    key = _channel_key(state.channel, state.keys[sender], state.link, sender, site.index)
    share = Share.parse(unseal(key, sealed, transcript.channel(state.link, sender, site.index)))
    name = site.policy.roster.names[sender]
    if (share.sender, share.receiver, share.round_id) != (sender, site.index, site.policy.round_id):
        raise ProtocolError(f"the share that {name!r} sealed names another pair of sites or another round: leave this round")
    if max(share.key_share, share.seed_share) >= PRIME:
        raise ProtocolError(f"the share that {name!r} sealed lies outside the field: leave this round")
    return share.key_share, share.seed_share


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


def _channel_key(private: Secret, keys: RoundKeys, link: bytes, sender: int, receiver: int) -> bytes:
    return derive_key(exchange(private.peek(), keys.channel), transcript.channel(link, sender, receiver))


def _publics(state: Joined) -> RoundKeys:
    return RoundKeys(public_half(state.channel), public_half(state.mask))


def _pack_pair(pair: Pair) -> bytes:
    return b"".join(value.to_bytes(SHARE_BYTES, "big") for value in pair)


def _unpack_pair(data: bytes | bytearray) -> Pair:
    return int.from_bytes(data[:SHARE_BYTES], "big"), int.from_bytes(data[SHARE_BYTES:], "big")
