"""The state machine of the server in one round: ``step(state, messages)`` returns the next and what to send.

It holds no key. A message that does not hold up costs its sender its place in the round, with the reason
noted; a round that falls below the threshold is abandoned with a ``ProtocolError``. So is one in which a site
provably dealt bad shares, with a ``SabotageError`` that names it: the sum would leave out its victim and
count the culprit. For each site the server asks for shares of one kind only: of the self-mask seed of those
that survived, of the mask key of those that did not.

Masked vectors may come one by one: each is added when it arrives, and only their sum is kept.

Source: Bonawitz et al., 2017, ePrint 2017/281; Bell et al., 2020, ePrint 2020/704, for the sparse graph.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from quintain.core.errors import ProtocolError
from quintain.federated.secagg import dealing, transcript
from quintain.federated.secagg.collecting import (
    Arrivals,
    Messages,
    RoundInProgress,
    RoundOutcome,
    abandon_error,
    gather,
    require,
    sabotage,
)
from quintain.federated.secagg.encoding import WORD_DTYPE
from quintain.federated.secagg.key_list import pack_key_lists
from quintain.federated.secagg.message_bodies import (
    SignedKeys,
    check_mask_key,
    pack_offer,
    pack_set,
    pack_signatures,
    parse_keys,
)
from quintain.federated.secagg.messages import MessageType, from_server, message_type_of, open_masked
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.setting_types import check_types
from quintain.federated.secagg.share_messages import (
    DealtShares,
    deliver,
    pack_delivery,
    parse_complaint,
    parse_shares,
)
from quintain.federated.secagg.share_tree import Tree, root, tree_depth
from quintain.federated.secagg.unmasking import unmask

State = RoundInProgress | RoundOutcome


def open_round(policy: Policy) -> tuple[RoundInProgress, dict[int, bytes]]:
    """Return the first state, and the offer to every site.

    Raises:
        SettingError: If the policy is of another type.
    """
    check_types(Policy, policy=policy)
    return RoundInProgress(policy, MessageType.KEYS, transcript.begin(policy)), dict.fromkeys(
        range(len(policy.roster)), offer(policy)
    )


def offer(policy: Policy) -> bytes:
    """Return the first message of a round, the same to every site."""
    return from_server(MessageType.OFFER, policy.round_id, pack_offer(policy))


def step(state: RoundInProgress, messages: Arrivals) -> tuple[State, dict[int, bytes]]:
    """Return the next state and the messages to send, given the messages that arrived in time.

    Args:
        state: The round so far.
        messages: By site; or an iterator over pairs of site and message, which ends when the time of the
            stage is over. A site's first message counts.

    Raises:
        ProtocolError: If too few good messages arrived, or if the sum is one that no honest vectors have: the
            round is abandoned.
        SabotageError: A ``ProtocolError``: if a site is proven to have dealt bad shares; it names that site,
            never its victim.
    """
    _check_arguments(state, messages)
    if state.expected_type is MessageType.MASKED:
        return _sum_masked(state, messages)
    return _STEPS[state.expected_type](state, dict(_first_of_each(messages)))


def _collect_keys(state: RoundInProgress, messages: Messages) -> tuple[State, dict[int, bytes]]:
    policy, num_sites = state.policy, len(state.policy.roster)
    slots = None if policy.sparse_graph is None else policy.sparse_graph.degree

    def read(site: int, body: bytes, signature: bytes) -> SignedKeys:
        keys = parse_keys(body, site, num_sites, slots)
        check_mask_key(keys)
        return SignedKeys(keys, signature)

    listed, refused = gather(state, messages, tuple(range(num_sites)), read)
    # keys that two sites list were copied by one of them: both lose their place, since neither is proved
    times = Counter(key for entry in listed.values() for key in entry.keys.all)
    copied = {i for i, entry in listed.items() if any(times[key] > 1 for key in entry.keys.all)}
    refused |= {
        policy.roster.names[i]: "its keys are also another site's; expected fresh ones" for i in copied
    }
    listed = {i: entry for i, entry in listed.items() if i not in copied}
    require(state, policy.threshold, listed, "sent keys", refused)
    key_list, bodies = pack_key_lists(policy, listed)
    after = replace(
        state,
        expected_type=MessageType.SHARES,
        transcript_hash=key_list.transcript_hash,
        key_list_hash=key_list.transcript_hash,
        graph=key_list.graph,
        keys=key_list.keys,
        refused=refused,
    )
    return after, {i: from_server(MessageType.KEY_LIST, policy.round_id, body) for i, body in bodies.items()}


def _forward_shares(state: RoundInProgress, messages: Messages) -> tuple[State, dict[int, bytes]]:
    policy, num_sites = state.policy, len(state.policy.roster)
    # parsed once: the signature is over the root of the tree from which the paths are delivered
    parsed: dict[int, tuple[DealtShares, Tree]] = {}

    def root_of(site: int, body: bytes) -> bytes:
        sharing = parse_shares(body, num_sites)
        if set(sharing.dealt) != set(state.graph.near(site, state.keys)) - {site}:
            raise ProtocolError("it did not share with all sites in the list")
        parsed[site] = sharing, sharing.tree(site, state.graph, tree_depth(policy))
        return root(parsed[site][1])

    def read(site: int, _body: bytes, signature: bytes) -> tuple[DealtShares, Tree, bytes]:
        return *parsed[site], signature

    signed, refused = gather(state, messages, tuple(state.keys), read, root_of)
    shared = {i: sharing for i, (sharing, *_) in signed.items()}
    require(state, policy.threshold, shared, "shared", refused)
    sharing = tuple(sorted(shared))
    transcript_hash = transcript.append_sharers(state.transcript_hash, sharing, num_sites)
    outgoing = {}
    for i in sharing:
        dealers = [j for j in state.graph.near(i, sharing) if j != i]
        delivered = {j: deliver(*signed[j], dealer=j, holder=i, graph=state.graph) for j in dealers}
        body = pack_delivery(delivered, sharing, i, num_sites)
        outgoing[i] = from_server(MessageType.DELIVERY, policy.round_id, body)
    return replace(
        state,
        expected_type=MessageType.MASKED,
        transcript_hash=transcript_hash,
        sharers=sharing,
        shared=shared,
        refused=refused,
    ), outgoing


def _sum_masked(state: RoundInProgress, messages: Arrivals) -> tuple[State, dict[int, bytes]]:
    policy, names = state.policy, state.policy.roster.names
    total = np.zeros(policy.encoding.num_words, WORD_DTYPE)
    # each vector is in the sum before the next one is looked at; only complaints wait until all are there
    added: dict[int, None] = {}
    complaints: dict[int, bytes] = {}
    reasons: dict[str, str] = {}
    for site, message in _first_of_each(messages):
        if _is_complaint(message):
            complaints[site] = message
        elif site in state.sharers:
            try:
                np.add(total, open_masked(message, policy, site, state.transcript_hash), out=total)
                added[site] = None
            except ProtocolError as error:
                reasons[names[site]] = str(error)
    state = _judge_complaints(state, complaints)
    refused = {**state.refused, **{name: reasons[name] for name in sorted(reasons, key=names.index)}}
    require(state, policy.min_survivors, added, "sent a masked vector", refused)
    survivors = tuple(sorted(added))
    if weakness := state.graph.weakness(survivors, names):
        raise abandon_error(state, f"{weakness}: the round is abandoned, start another with a new id")
    body = pack_set(survivors, len(names))
    after = replace(
        state,
        expected_type=MessageType.CONSISTENCY,
        transcript_hash=transcript.append_survivors(state.transcript_hash, survivors, len(names)),
        survivors=survivors,
        masked_sum=total,
        refused=refused,
    )
    return after, dict.fromkeys(survivors, from_server(MessageType.SURVIVORS, policy.round_id, body))


def _judge_complaints(state: RoundInProgress, messages: Messages) -> RoundInProgress:
    """Open every pair of shares that a site complains of.

    The round ends by name of a guilty dealer; a false complaint costs its site.

    Raises:
        SabotageError: If a dealer is guilty.
    """
    names, sharing = state.policy.roster.names, set(state.sharers)

    def read(site: int, body: bytes, _signature: bytes) -> tuple[int, bool]:
        complaint = parse_complaint(body)
        if complaint.dealer not in sharing - {site}:
            raise ProtocolError(f"a complaint of site {complaint.dealer}, which dealt it nothing: refuse it")
        dealt = state.shared[complaint.dealer].dealt[site]
        guilty = dealing.is_guilty(
            state.policy, state.key_list_hash, state.keys, site, complaint.dealer, complaint.private, dealt
        )
        return complaint.dealer, guilty

    judged, refused = gather(
        replace(state, expected_type=MessageType.COMPLAINT), messages, state.sharers, read
    )
    culprits = {dealer: site for site, (dealer, guilty) in judged.items() if guilty}
    false = {site: dealer for site, (dealer, guilty) in judged.items() if not guilty}
    refused |= {
        names[site]: f"it complained of what {names[dealer]!r} dealt it, which is good"
        for site, dealer in false.items()
    }
    state = replace(state, refused=refused, accused=state.accused | set(false))
    if culprits:
        reason = "; ".join(
            f"{names[dealer]!r} dealt {names[site]!r} a bad pair of shares"
            for dealer, site in sorted(culprits.items())
        )
        raise sabotage(state, tuple(sorted(culprits)), reason)
    return state


def _collect_signatures(state: RoundInProgress, messages: Messages) -> tuple[State, dict[int, bytes]]:
    policy = state.policy

    def read(_site: int, body: bytes, signature: bytes) -> bytes:
        if body:
            raise ProtocolError(
                f"a CONSISTENCY message with {len(body)} bytes of body; expected none: refuse it"
            )
        return signature

    signatures, refused = gather(state, messages, state.survivors, read)
    require(state, policy.threshold, signatures, "signed the survivors", refused)
    # no more than each site asks for, since each costs every site a check
    body = pack_signatures(dict(list(signatures.items())[: policy.threshold]), len(policy.roster))
    return replace(state, expected_type=MessageType.UNMASK, refused=refused), dict.fromkeys(
        signatures, from_server(MessageType.SIGNATURES, policy.round_id, body)
    )


def _unmask(state: RoundInProgress, messages: Messages) -> tuple[State, dict[int, bytes]]:
    return unmask(state, messages), {}


_STEPS: Mapping[MessageType, Callable[[RoundInProgress, Messages], tuple[State, dict[int, bytes]]]] = {
    MessageType.KEYS: _collect_keys,
    MessageType.SHARES: _forward_shares,
    MessageType.CONSISTENCY: _collect_signatures,
    MessageType.UNMASK: _unmask,
}


def _first_of_each(messages: Arrivals) -> Iterator[tuple[int, bytes]]:
    """Yield each site's first message."""
    seen = set()
    for site, message in messages if isinstance(messages, Iterator) else messages.items():
        if site not in seen:
            seen.add(site)
            yield site, message


def _is_complaint(message: object) -> bool:
    try:
        return message_type_of(message) is MessageType.COMPLAINT
    except ProtocolError:
        return False


def _check_arguments(state: object, messages: object) -> None:
    if not isinstance(state, RoundInProgress):
        raise ProtocolError(
            f"the server's state is a {type(state).__name__}; expected a round under way: open a new one"
        )
    if not isinstance(messages, Mapping | Iterator):
        raise ProtocolError(
            f"messages is a {type(messages).__name__}; expected a mapping from site index to bytes"
        )
