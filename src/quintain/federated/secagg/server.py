"""The server's side of a round, as a pure machine: ``step(state, messages) -> (state, outgoing)``.

It holds no key. A message that does not hold up costs its sender its place in the round, with the reason noted; a round that falls below
the threshold is abandoned with a ``ProtocolError``. So is one in which a site provably dealt bad shares, with a ``SabotageError`` that
names it: the sum would leave out its victim and count the culprit. For each site the server asks for shares of one kind only: of the
self-mask seed of those that survived, of the mask key of those that did not.
Source: Bonawitz et al., 2017, ePrint 2017/281.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from quintain.core.errors import ProtocolError, SabotageError
from quintain.federated.secagg import dealing, masks, transcript
from quintain.federated.secagg.encoding import WORD, Words, check_types
from quintain.federated.secagg.keys import RoundKeys
from quintain.federated.secagg.messages import (
    Kind,
    Members,
    Sharing,
    SignedKeys,
    from_server,
    kind_of,
    open_site,
    pack_consent,
    pack_delivery,
    pack_key_list,
    pack_offer,
    pack_set,
    parse_complaint,
    parse_keys,
    parse_shares,
    parse_unmask,
    parse_words,
)
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.primitives import KEY_BYTES, exchange_public
from quintain.federated.secagg.shamir import PRIME, combine, weights

Messages = Mapping[int, bytes]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Collecting:
    """A round under way: what it waits for, and all that the lists so far have fixed."""

    policy: Policy
    awaits: Kind
    link: bytes
    keys: Mapping[int, RoundKeys] = field(default_factory=dict)
    shared: Mapping[int, Sharing] = field(default_factory=dict)
    after_keys: bytes = b""
    sharing: Members = ()
    survivors: Members = ()
    masked_sum: Words = field(default_factory=lambda: np.zeros(0, WORD), repr=False)
    refused: Mapping[str, str] = field(default_factory=dict)
    accused: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Finished:
    """A round's outcome.

    Args:
        total: (words,) the sum of the survivors' words mod 2^32, exact.
        survivors: Whose vectors are in it.
        dropped: All others in the roster.
        refused: Messages that did not hold up: site to reason.
        accused: Sites that revealed a share that they were not dealt, or complained of a good one: proven, see ``secagg.dealing``.
    """

    policy: Policy
    total: Words = field(repr=False)
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]
    refused: Mapping[str, str]
    accused: tuple[str, ...]


State = Collecting | Finished


def open_round(policy: Policy) -> tuple[Collecting, dict[int, bytes]]:
    """The first state, and the offer to every site.

    Raises:
        SettingError: If the policy is of another type.
    """
    check_types(Policy, policy=policy)
    offer = from_server(Kind.OFFER, policy.round_id, pack_offer(policy))
    return Collecting(policy, Kind.KEYS, transcript.opened(policy)), dict.fromkeys(range(len(policy.roster)), offer)


def step(state: Collecting, messages: Messages) -> tuple[State, dict[int, bytes]]:
    """The next state and the messages to send, from what arrived in time.

    Raises:
        ProtocolError: If too few good messages arrived, or if the sum is one that no honest vectors have: the round is abandoned.
        SabotageError: A ``ProtocolError``: if a site is proven to have dealt bad shares; it names that site, never its victim.
    """
    _check_arguments(state, messages)
    return _STEPS[state.awaits](state, messages)


def _list_keys(state: Collecting, messages: Messages) -> tuple[State, dict[int, bytes]]:
    policy, parties = state.policy, len(state.policy.roster)

    def read(site: int, body: bytes, signature: bytes) -> SignedKeys:
        return SignedKeys(parse_keys(body, site, parties), signature)

    listed, refused = _gather(state, messages, tuple(range(parties)), read)
    times = Counter(key for entry in listed.values() for key in entry.keys.all)
    copied = {i for i, entry in listed.items() if any(times[key] > 1 for key in entry.keys.all)}
    refused |= {policy.roster.names[i]: "its keys are also another site's; expected fresh ones" for i in copied}
    listed = {i: entry for i, entry in listed.items() if i not in copied}
    _require(policy, policy.threshold, listed, "sent keys", refused)
    body = pack_key_list(listed, parties)
    link = transcript.with_keys(policy, body)
    keys = {i: entry.keys for i, entry in listed.items()}
    after = replace(state, awaits=Kind.SHARES, link=link, after_keys=link, keys=keys, refused=refused)
    return after, dict.fromkeys(listed, from_server(Kind.KEY_LIST, policy.round_id, body))


def _deliver(state: Collecting, messages: Messages) -> tuple[State, dict[int, bytes]]:
    policy, parties = state.policy, len(state.policy.roster)

    def read(site: int, body: bytes, _signature: bytes) -> Sharing:
        sharing = parse_shares(body, parties)
        if set(sharing.dealt) != set(state.keys) - {site}:
            raise ProtocolError("it did not share with all sites in the list")
        if not all(dealing.is_signed(policy, state.link, site, i, dealt) for i, dealt in sharing.dealt.items()):
            raise ProtocolError("its signature on what it dealt one of the sites does not hold")
        return sharing

    shared, refused = _gather(state, messages, tuple(state.keys), read)
    _require(policy, policy.threshold, shared, "shared", refused)
    sharing = tuple(sorted(shared))
    link = transcript.with_shares(state.link, sharing, parties)
    outgoing = {
        i: from_server(
            Kind.DELIVERY, policy.round_id, pack_delivery({j: shared[j].dealt[i] for j in sharing if j != i}, sharing, i, parties)
        )
        for i in sharing
    }
    return replace(state, awaits=Kind.MASKED, link=link, sharing=sharing, shared=shared, refused=refused), outgoing


def _add_up(state: Collecting, messages: Messages) -> tuple[State, dict[int, bytes]]:
    policy, parties = state.policy, len(state.policy.roster)
    complaints = {i: message for i, message in messages.items() if _is_complaint(message)}
    state = _judge(state, complaints)

    def read(_site: int, body: bytes, _signature: bytes) -> Words:
        return parse_words(body, policy.encoding.words)

    vectors, refused = _gather(state, {i: message for i, message in messages.items() if i not in complaints}, state.sharing, read)
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


def _judge(state: Collecting, messages: Messages) -> Collecting:
    """Open every pair of shares that a site complains of: the round ends by name of a guilty dealer; a false complaint costs its site.

    Raises:
        SabotageError: If a dealer is guilty.
    """
    names, sharing = state.policy.roster.names, set(state.sharing)

    def read(site: int, body: bytes, _signature: bytes) -> tuple[int, bool]:
        complaint = parse_complaint(body)
        if complaint.dealer not in sharing - {site}:
            raise ProtocolError(f"a complaint of site {complaint.dealer}, which dealt it nothing: refuse it")
        dealt = state.shared[complaint.dealer].dealt[site]
        guilty = dealing.is_guilty(state.policy, state.after_keys, state.keys, site, complaint.dealer, complaint.private, dealt)
        return complaint.dealer, guilty

    judged, refused = _gather(replace(state, awaits=Kind.COMPLAINT), messages, state.sharing, read)
    culprits = {dealer: site for site, (dealer, guilty) in judged.items() if guilty}
    if culprits:
        told = "; ".join(f"{names[dealer]!r} dealt {names[site]!r} a bad pair of shares" for dealer, site in sorted(culprits.items()))
        raise _sabotage(state, tuple(sorted(culprits)), told)
    refused |= {names[site]: f"it complained of what {names[dealer]!r} dealt it, which is good" for site, (dealer, _) in judged.items()}
    return replace(state, refused=refused, accused=state.accused | set(judged))


def _consent(state: Collecting, messages: Messages) -> tuple[State, dict[int, bytes]]:
    policy = state.policy

    def read(_site: int, body: bytes, signature: bytes) -> bytes:
        if body:
            raise ProtocolError(f"an AGREE message with {len(body)} bytes of body; expected none: refuse it")
        return signature

    signatures, refused = _gather(state, messages, state.survivors, read)
    _require(policy, policy.threshold, signatures, "signed the survivors", refused)
    body = pack_consent(signatures, len(policy.roster))
    return replace(state, awaits=Kind.UNMASK, refused=refused), dict.fromkeys(signatures, from_server(Kind.CONSENT, policy.round_id, body))


def _unmask(state: Collecting, messages: Messages) -> tuple[State, dict[int, bytes]]:
    policy, roster = state.policy, state.policy.roster

    def read(_site: int, body: bytes, _signature: bytes) -> dict[int, int]:
        shares = parse_unmask(body, state.sharing)
        if any(value >= PRIME for value in shares.values()):
            raise ProtocolError("a share outside the field; expected a value below the prime: exclude that site")
        return shares

    answers, refused = _gather(state, messages, state.survivors, read)
    false = {site: dealers for site, answer in answers.items() if (dealers := _not_dealt(state, site, answer))}
    refused |= {
        roster.names[site]: f"it revealed shares that it was not dealt, of {', '.join(roster.spell(dealers))}"
        for site, dealers in false.items()
    }
    answers = {site: answer for site, answer in answers.items() if site not in false}
    _require(policy, policy.threshold, answers, "unmasked", refused)

    total = _unmasked(state, answers)
    policy.encoding.check_sum(policy.encoding.integers(total), len(state.survivors))
    dropped = tuple(name for i, name in enumerate(roster.names) if i not in state.survivors)
    accused = roster.spell(tuple(sorted(state.accused | set(false))))
    return Finished(policy, total, roster.spell(state.survivors), dropped, refused, accused), {}


def _unmasked(state: Collecting, answers: Mapping[int, Mapping[int, int]]) -> Words:
    """The sum of the survivors' vectors: every mask rebuilt from true shares and taken off.

    All answers give one share of every site, so the shares of all sites stand at the same points and one set of weights serves them.
    """
    link = transcript.with_shares(state.after_keys, state.sharing, len(state.policy.roster))
    chosen = sorted(answers)[: state.policy.threshold]
    factors = weights([holder + 1 for holder in chosen])
    total = state.masked_sum.copy()
    for site in state.sharing:
        secret = combine(factors, {holder + 1: answers[holder][site] for holder in chosen})
        survived = site in state.survivors
        if not (_is_seed if survived else _is_mask_key)(state, site, secret):
            what = "self-mask seed" if survived else "mask key"
            name = state.policy.roster.names[site]
            raise _sabotage(state, (site,), f"the shares that {name!r} dealt do not give the {what} that it committed to")
        private = secret.to_bytes(KEY_BYTES, "big")
        if survived:
            masks.add_self_mask(total, private, link, site, remove=True)
            continue
        for survivor in state.survivors:
            masks.add_pair_mask(total, private, state.keys[survivor].mask, link, survivor, site, remove=True)
    return total


def _not_dealt(state: Collecting, holder: int, answer: Mapping[int, int]) -> Members:
    """The sites of which a holder revealed another share than the one whose hash they signed for it."""

    def is_false(dealer: int, value: int) -> bool:
        hashes = state.shared[dealer].hashes(holder)
        label, expected = ("seed share", hashes.seed) if dealer in state.survivors else ("key share", hashes.key)
        return dealing.share_hash(label, state.after_keys, dealer, holder, value) != expected

    return tuple(dealer for dealer, value in answer.items() if is_false(dealer, value))


_STEPS: Mapping[Kind, Callable[[Collecting, Messages], tuple[State, dict[int, bytes]]]] = {
    Kind.KEYS: _list_keys,
    Kind.SHARES: _deliver,
    Kind.MASKED: _add_up,
    Kind.AGREE: _consent,
    Kind.UNMASK: _unmask,
}


def _gather(
    state: Collecting, messages: Messages, expected: Members, read: Callable[[int, bytes, bytes], T]
) -> tuple[dict[int, T], dict[str, str]]:
    """What the good messages say, by site in order, and the reasons against the others, old and new."""
    good: dict[int, T] = {}
    refused = dict(state.refused)
    for i in sorted(set(messages) & set(expected)):
        try:
            good[i] = read(i, *open_site(messages[i], state.awaits, state.policy, i, state.link))
        except ProtocolError as error:
            refused[state.policy.roster.names[i]] = str(error)
    return good, refused


def _require(policy: Policy, least: int, got: Mapping[int, object], what: str, refused: Mapping[str, str]) -> None:
    if len(got) < least:
        raise ProtocolError(
            f"{len(got)} of {len(policy.roster)} sites {what}; {least} are needed: the round is abandoned, "
            f"start another with a new id{_reasons(refused)}"
        )


def _sabotage(state: Collecting, culprits: Members, told: str) -> SabotageError:
    names = state.policy.roster.spell(culprits)
    return SabotageError(f"{told}: the round is abandoned, start another without {', '.join(names)}{_reasons(state.refused)}", names)


def _reasons(refused: Mapping[str, str]) -> str:
    return "".join(f"; {name}: {reason}" for name, reason in refused.items())


def _is_complaint(message: object) -> bool:
    try:
        return kind_of(message) is Kind.COMPLAINT
    except ProtocolError:
        return False


def _check_arguments(state: object, messages: object) -> None:
    if not isinstance(state, Collecting):
        raise ProtocolError(f"the server's state is a {type(state).__name__}; expected a round under way: open a new one")
    if not isinstance(messages, Mapping):
        raise ProtocolError(f"messages is a {type(messages).__name__}; expected a mapping from site index to bytes")


def _is_seed(state: Collecting, site: int, value: int) -> bool:
    """Whether a rebuilt value is the seed that a site committed to."""
    if value >= 1 << (8 * KEY_BYTES):
        return False
    return dealing.commitment(state.after_keys, site, value.to_bytes(KEY_BYTES, "big")) == state.shared[site].commitment


def _is_mask_key(state: Collecting, site: int, value: int) -> bool:
    """Whether a rebuilt value is the private half of the mask key that a site advertised."""
    if value >= 1 << (8 * KEY_BYTES):
        return False
    return exchange_public(value.to_bytes(KEY_BYTES, "big")) == state.keys[site].mask
