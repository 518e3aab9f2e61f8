"""The server's side of a round, as a pure machine: ``step(state, messages) -> (state, outgoing)``.

It holds no key. A message that does not hold up costs its sender its place in the round, with the reason noted; a round that falls below
the threshold is abandoned with a ``ProtocolError``. For each site it asks for shares of one kind only: of the self-mask seed of those that
survived, of the mask key of those that did not.
Source: Bonawitz et al., 2017, ePrint 2017/281.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np

from quintain.core.errors import ProtocolError
from quintain.federated.secagg import masks, transcript
from quintain.federated.secagg.encoding import WORD, Words
from quintain.federated.secagg.keys import RoundKeys
from quintain.federated.secagg.messages import (
    Kind,
    Members,
    SignedKeys,
    from_server,
    open_site,
    pack_consent,
    pack_delivery,
    pack_key_list,
    pack_offer,
    pack_set,
    parse_keys,
    parse_shares,
    parse_unmask,
    parse_words,
)
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.primitives import KEY_BYTES, exchange_public
from quintain.federated.secagg.shamir import PRIME, rebuild

Messages = Mapping[int, bytes]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Collecting:
    """A round under way: what it waits for, and all that the lists so far have fixed."""

    policy: Policy
    awaits: Kind
    link: bytes
    keys: Mapping[int, RoundKeys] = field(default_factory=dict)
    commitments: Mapping[int, bytes] = field(default_factory=dict)
    after_keys: bytes = b""
    sharing: Members = ()
    survivors: Members = ()
    masked_sum: Words = field(default_factory=lambda: np.zeros(0, WORD), repr=False)
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finished:
    """A round's outcome.

    Args:
        total: (words,) the sum of the survivors' words mod 2^32, exact.
        survivors: Whose vectors are in it.
        dropped: All others in the roster.
        refused: Messages that did not hold up: site to reason.
        accused: Sites that revealed a share off the polynomial of the others, whether they made it up or were dealt it.
    """

    policy: Policy
    total: Words = field(repr=False)
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]
    refused: Mapping[str, str]
    accused: tuple[str, ...]


State = Collecting | Finished


def open_round(policy: Policy) -> tuple[Collecting, dict[int, bytes]]:
    """The first state, and the offer to every site."""
    offer = from_server(Kind.OFFER, policy.round_id, pack_offer(policy))
    return Collecting(policy, Kind.KEYS, transcript.opened(policy)), dict.fromkeys(range(len(policy.roster)), offer)


def step(state: Collecting, messages: Messages) -> tuple[State, dict[int, bytes]]:
    """The next state and the messages to send, from what arrived in time.

    Raises:
        ProtocolError: If too few good messages arrived, or if the sum is one that no honest vectors have: the round is abandoned.
    """
    return _STEPS[state.awaits](state, messages)


def _list_keys(state: Collecting, messages: Messages) -> tuple[State, dict[int, bytes]]:
    policy = state.policy

    def read(body: bytes, signature: bytes) -> SignedKeys:
        return SignedKeys(parse_keys(body), signature)

    listed, refused = _gather(state, messages, tuple(range(len(policy.roster))), read)
    flat = [key for entry in listed.values() for key in (entry.keys.channel, entry.keys.mask)]
    copied = {i for i, entry in listed.items() if flat.count(entry.keys.channel) > 1 or flat.count(entry.keys.mask) > 1}
    refused |= {policy.roster.names[i]: "its keys are also another site's; expected fresh ones" for i in copied}
    listed = {i: entry for i, entry in listed.items() if i not in copied}
    _require(policy, policy.threshold, listed, "sent keys", refused)
    body = pack_key_list(listed, len(policy.roster))
    link = transcript.with_keys(policy, body)
    keys = {i: entry.keys for i, entry in listed.items()}
    after = replace(state, awaits=Kind.SHARES, link=link, after_keys=link, keys=keys, refused=refused)
    return after, dict.fromkeys(listed, from_server(Kind.KEY_LIST, policy.round_id, body))


def _deliver(state: Collecting, messages: Messages) -> tuple[State, dict[int, bytes]]:
    policy, parties = state.policy, len(state.policy.roster)

    def read(body: bytes, _signature: bytes) -> tuple[dict[int, bytes], bytes]:
        return parse_shares(body, parties)

    shared, refused = _gather(state, messages, tuple(state.keys), read)
    partial = [i for i, (sealed, _) in shared.items() if set(sealed) != set(state.keys) - {i}]
    for i in partial:
        refused[policy.roster.names[i]] = "it did not share with all sites in the list"
        del shared[i]
    _require(policy, policy.threshold, shared, "shared", refused)
    sharing = tuple(sorted(shared))
    link = transcript.with_shares(state.link, sharing, parties)
    commitments = {i: commitment for i, (_, commitment) in shared.items()}
    outgoing = {
        i: from_server(Kind.DELIVERY, policy.round_id, pack_delivery({j: shared[j][0][i] for j in sharing if j != i}, sharing, i, parties))
        for i in sharing
    }
    return replace(state, awaits=Kind.MASKED, link=link, sharing=sharing, commitments=commitments, refused=refused), outgoing


def _add_up(state: Collecting, messages: Messages) -> tuple[State, dict[int, bytes]]:
    policy, parties = state.policy, len(state.policy.roster)

    def read(body: bytes, _signature: bytes) -> Words:
        return parse_words(body, policy.encoding.words)

    vectors, refused = _gather(state, messages, state.sharing, read)
    _require(policy, policy.minimum, vectors, "sent a masked vector", refused)
    survivors = tuple(sorted(vectors))
    total = np.zeros(policy.encoding.words, WORD)
    for vector in vectors.values():
        np.add(total, vector, out=total)
    body = pack_set(survivors, parties)
    after = replace(
        state,
        awaits=Kind.AGREE,
        link=transcript.with_survivors(state.link, survivors, parties),
        survivors=survivors,
        masked_sum=total,
        refused=refused,
    )
    return after, dict.fromkeys(survivors, from_server(Kind.SURVIVORS, policy.round_id, body))


def _consent(state: Collecting, messages: Messages) -> tuple[State, dict[int, bytes]]:
    policy = state.policy

    def read(body: bytes, signature: bytes) -> bytes:
        if body:
            raise ProtocolError(f"an AGREE message with {len(body)} bytes of body; expected none: refuse it")
        return signature

    signatures, refused = _gather(state, messages, state.survivors, read)
    _require(policy, policy.threshold, signatures, "signed the survivors", refused)
    body = pack_consent(signatures, len(policy.roster))
    return replace(state, awaits=Kind.UNMASK, refused=refused), dict.fromkeys(signatures, from_server(Kind.CONSENT, policy.round_id, body))


def _unmask(state: Collecting, messages: Messages) -> tuple[State, dict[int, bytes]]:
    policy, roster = state.policy, state.policy.roster

    def read(body: bytes, _signature: bytes) -> dict[int, int]:
        shares = parse_unmask(body, state.sharing)
        if any(value >= PRIME for value in shares.values()):
            raise ProtocolError("a share outside the field; expected a value below the prime: exclude that site")
        return shares

    answers, refused = _gather(state, messages, state.survivors, read)
    _require(policy, policy.threshold, answers, "unmasked", refused)
    link = transcript.with_shares(state.after_keys, state.sharing, len(roster))
    total = state.masked_sum.copy()
    liars: set[int] = set()
    for site in state.sharing:
        shares = {i + 1: answer[site] for i, answer in answers.items()}
        if site in state.survivors:
            secret, false = rebuild(shares, policy.threshold, partial(_is_seed, state, site))
            masks.add_self_mask(total, secret.to_bytes(KEY_BYTES, "big"), link, site, remove=True)
        else:
            secret, false = rebuild(shares, policy.threshold, partial(_is_mask_key, state, site))
            private = secret.to_bytes(KEY_BYTES, "big")
            for survivor in state.survivors:
                masks.add_pair_mask(total, private, state.keys[survivor].mask, link, survivor, site, remove=True)
        liars.update(point - 1 for point in false)
    policy.encoding.check_sum(policy.encoding.integers(total), len(state.survivors))
    dropped = tuple(name for i, name in enumerate(roster.names) if i not in state.survivors)
    return Finished(policy, total, roster.spell(state.survivors), dropped, refused, roster.spell(tuple(sorted(liars)))), {}


_STEPS: Mapping[Kind, Callable[[Collecting, Messages], tuple[State, dict[int, bytes]]]] = {
    Kind.KEYS: _list_keys,
    Kind.SHARES: _deliver,
    Kind.MASKED: _add_up,
    Kind.AGREE: _consent,
    Kind.UNMASK: _unmask,
}


def _gather(
    state: Collecting, messages: Messages, expected: Members, read: Callable[[bytes, bytes], T]
) -> tuple[dict[int, T], dict[str, str]]:
    """What the good messages say, by site in order, and the reasons against the others, old and new."""
    good: dict[int, T] = {}
    refused = dict(state.refused)
    for i in sorted(set(messages) & set(expected)):
        try:
            good[i] = read(*open_site(messages[i], state.awaits, state.policy, i, state.link))
        except ProtocolError as error:
            refused[state.policy.roster.names[i]] = str(error)
    return good, refused


def _require(policy: Policy, least: int, got: Mapping[int, object], what: str, refused: Mapping[str, str]) -> None:
    if len(got) < least:
        reasons = "".join(f"; {name}: {reason}" for name, reason in refused.items())
        raise ProtocolError(
            f"{len(got)} of {len(policy.roster)} sites {what}; {least} are needed: the round is abandoned, "
            f"start another with a new id{reasons}"
        )


def _is_seed(state: Collecting, site: int, value: int) -> bool:
    """Whether a rebuilt value is the seed that a site committed to."""
    if value >= 1 << (8 * KEY_BYTES):
        return False
    return transcript.commitment(state.after_keys, site, value.to_bytes(KEY_BYTES, "big")) == state.commitments[site]


def _is_mask_key(state: Collecting, site: int, value: int) -> bool:
    """Whether a rebuilt value is the private half of the mask key that a site advertised."""
    if value >= 1 << (8 * KEY_BYTES):
        return False
    return exchange_public(value.to_bytes(KEY_BYTES, "big")) == state.keys[site].mask
