"""Secure aggregation as a whole: whatever the wire does, the sum is exact or the round is abandoned, and the
server learns no more.
"""

import random
from collections import Counter
from dataclasses import replace
from itertools import combinations, combinations_with_replacement, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, ks_2samp

from quintain.core.errors import ProtocolError
from quintain.federated import DropoutStage, InProcessTransport, run_round, secure_sum
from quintain.federated.secagg import client, masks, server
from quintain.federated.secagg.encoding import Encoding
from quintain.federated.secagg.journal import MemoryJournal
from quintain.federated.secagg.keys import Identity, Roster
from quintain.federated.secagg.message_bodies import pack_set, pack_signatures
from quintain.federated.secagg.messages import MessageType, from_server, server_body
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.share_messages import pack_delivery, parse_delivery
from quintain.federated.secagg_sum import SecureSum
from quintain.testing import TamperingTransport, check_aggregation

TURNS = [kind for kind in MessageType if kind is not MessageType.COMPLAINT]
IDENTITIES = [Identity.create(f"site-{i}", random.Random(i).randbytes) for i in range(5)]


def policy_of(n, *, threshold, corrupt=0, length=4, round_id=bytes(16)):
    encoding = Encoding(length, 1.0, 1000, n)
    return Policy(
        Roster.from_identities(*IDENTITIES[:n]),
        round_id,
        threshold,
        max(2, threshold),
        encoding,
        bytes(32),
        corrupt,
    )


def words_of(policy, seed=0):
    rng = np.random.default_rng(seed)
    return [policy.encoding.quantize(rng.uniform(-1, 1, policy.encoding.length)) for _ in policy.roster.names]


def sites_of(policy, words, seed=0):
    entropy = random.Random(seed).randbytes
    return {
        i: client.start_round(policy, IDENTITIES[i], words[i], MemoryJournal(), entropy=entropy)
        for i in range(len(words))
    }


def plain(policy, words, survivors):
    return sum(policy.encoding.to_signed(words[policy.roster.index(name)]) for name in survivors)


def is_exact(policy, words, finished):
    return np.array_equal(policy.encoding.to_signed(finished.total), plain(policy, words, finished.survivors))


# -- who falls silent when
# ------------------------------------------------------------------------------------------------------------


def expected_survivors(n, threshold, drop):
    """The protocol's outcome in one line each: enough sites at every stage, or none."""
    after = [
        DropoutStage.KEYS,
        DropoutStage.SHARES,
        DropoutStage.MASKED,
        DropoutStage.CONSISTENCY,
        DropoutStage.UNMASK,
    ]
    rank = {stage: k for k, stage in enumerate(after)} | {DropoutStage.LATE: 2}
    speaking = [sum(rank[drop[i]] > k if i in drop else True for i in range(n)) for k in range(5)]
    if min(speaking) < threshold:
        return None
    return tuple(f"site-{i}" for i in range(n) if i not in drop or rank[drop[i]] > 2)


def check_drop(n, threshold, drop):
    policy = policy_of(n, threshold=threshold)
    words = words_of(policy)
    expected = expected_survivors(n, threshold, drop)
    transport = InProcessTransport(policy, sites_of(policy, words), drop)
    if expected is None:
        with pytest.raises(ProtocolError, match="abandoned"):
            run_round(policy, transport)
    else:
        finished = run_round(policy, transport)
        assert finished.survivors == expected
        assert is_exact(policy, words, finished)
    assert not transport.refusals


WAYS = [None, *DropoutStage]


@pytest.mark.parametrize(
    ("n", "threshold"),
    [(2, 2), *(pytest.param(3, threshold, marks=pytest.mark.exhaustive) for threshold in (2, 3))],
)
def test_every_way_to_fall_silent_gives_the_exact_sum_or_an_abandoned_round(n, threshold):
    for stages in product(WAYS, repeat=n):
        check_drop(n, threshold, {i: stage for i, stage in enumerate(stages) if stage})


@pytest.mark.parametrize("threshold", [2, 3])
def test_three_sites_that_fall_silent_in_any_three_ways(threshold):
    """Every three ways once, taken by the three sites in turn; which site takes which, every time, is the
    exhaustive case above.
    """
    for k, stages in enumerate(combinations_with_replacement(WAYS, 3)):
        taken = stages[k % 3 :] + stages[: k % 3]
        check_drop(3, threshold, {i: stage for i, stage in enumerate(taken) if stage})


@pytest.mark.parametrize("stage", list(DropoutStage))
@pytest.mark.parametrize(("n", "threshold"), [(4, 3), pytest.param(5, 3, marks=pytest.mark.exhaustive)])
def test_every_group_that_falls_silent_together(n, threshold, stage):
    for size in range(n + 1):
        for gone in combinations(range(n), size):
            check_drop(n, threshold, dict.fromkeys(gone, stage))


@pytest.mark.parametrize("gone", [(0, 4), pytest.param((2, 1), marks=pytest.mark.exhaustive)])
def test_two_of_five_that_fall_silent_one_after_the_other(gone):
    for stages in product(DropoutStage, repeat=2):
        check_drop(5, 3, dict(zip(gone, stages, strict=True)))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n=st.integers(2, 5), seed=st.integers(0, 99))
def test_any_vectors_and_any_silence(data, n, seed):
    drop = data.draw(st.dictionaries(st.integers(0, n - 1), st.sampled_from(list(DropoutStage))))
    policy = policy_of(n, threshold=n // 2 + 1, length=data.draw(st.integers(1, 9)))
    words = words_of(policy, seed)
    transport = InProcessTransport(policy, sites_of(policy, words, seed), drop)
    try:
        finished = run_round(policy, transport)
    except ProtocolError:
        assert expected_survivors(n, n // 2 + 1, drop) is None
    else:
        assert is_exact(policy, words, finished)


# -- what the wire does to messages
# ----------------------------------------------------------------------------------------------------


def meddle(kind, site, change, *, n=3, threshold=2):
    """The round's end under one changed message: its exact survivors, or the refusal by name."""
    policy = policy_of(n, threshold=threshold)
    words = words_of(policy)
    inner = InProcessTransport(policy, sites_of(policy, words))
    transport = TamperingTransport(inner, kind, site, change)
    try:
        finished = run_round(policy, transport)
    except ProtocolError as error:
        return transport, str(error)
    assert is_exact(policy, words, finished)
    return transport, {**finished.refused, **inner.refusals}


def flipped(position, mask):
    return lambda data: data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :]


@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("kind", TURNS)
def test_a_flipped_byte_is_refused_by_name_and_never_changes_the_sum(kind, stride):
    """Bytes of the head (a stride of 4 meets each of its fields: magic, kind, round and sender), of the end,
    and some between.
    """
    size = meddle(kind, 1, lambda data: data)[0].size
    rng = random.Random(int(kind))
    positions = sorted(
        {*range(0, 26, stride), *range(size - 3, size), *rng.sample(range(size), min(size, 24 // stride))}
    )
    for position in positions:
        _, told = meddle(kind, 1, flipped(position, 1 << rng.randrange(8)))
        assert told, f"byte {position} of {kind.name} was changed and nobody noticed"


@pytest.mark.parametrize("kind", TURNS)
@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"",
        lambda data: data[:25],
        lambda data: data * 2,
    ],
)
def test_a_message_of_another_length_is_refused_by_name(kind, change):
    _, told = meddle(kind, 1, change)
    assert told


# -- replays and stories
# ------------------------------------------------------------------------------------------------------------


def recorded(policy, words, seed=0):
    transport = InProcessTransport(policy, sites_of(policy, words, seed))
    run_round(policy, transport)
    return transport.view


@pytest.mark.parametrize("kind", [kind for kind in TURNS if kind % 2 == 0])
def test_the_servers_messages_of_a_round_are_refused_in_the_next(kind):
    first, second = (policy_of(3, threshold=2, round_id=bytes([k]) * 16) for k in (1, 2))
    words = words_of(first)
    old = next(
        letter.data for letter in recorded(first, words).sent if letter.type is kind and letter.site == 1
    )
    transport = InProcessTransport(second, sites_of(second, words))
    finished = run_round(second, TamperingTransport(transport, kind, 1, lambda data: old))
    assert "a replay is refused" in transport.refusals["site-1"]
    assert is_exact(second, words, finished)


@pytest.mark.parametrize("kind", [kind for kind in TURNS if kind % 2 == 1])
def test_a_sites_messages_of_a_round_are_refused_in_the_next(kind):
    first, second = (policy_of(3, threshold=2, round_id=bytes([k]) * 16) for k in (1, 2))
    words = words_of(first)
    old = next(
        letter.data for letter in recorded(first, words).received if letter.type is kind and letter.site == 1
    )
    transport = InProcessTransport(second, sites_of(second, words))
    finished = run_round(second, TamperingTransport(transport, kind, 1, lambda data: old))
    assert "a replay is refused" in finished.refused["site-1"]
    assert is_exact(second, words, finished)


@pytest.mark.parametrize(
    "kind", [kind for kind in TURNS if kind not in (MessageType.OFFER, MessageType.CONSISTENCY)]
)
def test_under_the_same_round_id_the_transcript_refuses_what_another_run_said(kind):
    policy = policy_of(3, threshold=2)
    words = words_of(policy)
    view = recorded(policy, words, seed=1)
    letters = view.sent if kind % 2 == 0 else view.received
    old = next(letter.data for letter in letters if letter.type is kind and letter.site == 1)
    transport = InProcessTransport(policy, sites_of(policy, words, seed=2))
    try:
        finished = run_round(policy, TamperingTransport(transport, kind, 1, lambda data: old))
    except ProtocolError:
        return
    if kind is not MessageType.SURVIVORS:  # the same three survive in both
        assert {**finished.refused, **transport.refusals}
    assert is_exact(policy, words, finished)


def stories(n, threshold, told):
    """An equivocating server: it tells ``told[i]`` as the survivors to site i, then offers every story's
    signatures to everybody.
    """
    policy = policy_of(n, threshold=threshold)
    sites = sites_of(policy, words_of(policy))
    state, outgoing = server.open_round(policy)
    for _ in range(3):
        replies = {}
        for i, message in outgoing.items():
            sites[i], replies[i] = client.step(sites[i], message)
        if state.expected_type is not MessageType.MASKED:
            state, outgoing = server.step(state, replies)
    signatures = {}
    for i, story in told.items():
        try:
            sites[i], reply = client.step(
                sites[i], from_server(MessageType.SURVIVORS, policy.round_id, pack_set(story, n))
            )
            signatures.setdefault(story, {})[i] = reply[-64:]
        except ProtocolError:
            continue
    answered = {}
    for i, story in told.items():
        for signed in (*signatures.values(), {k: v for part in signatures.values() for k, v in part.items()}):
            try:
                client.step(
                    sites[i], from_server(MessageType.SIGNATURES, policy.round_id, pack_signatures(signed, n))
                )
                answered.setdefault(story, set()).add(i)
            except ProtocolError:
                continue
    return answered


@pytest.mark.parametrize("halves", [chosen for size in (1, 2, 3) for chosen in combinations(range(4), size)])
def test_of_two_survivor_lists_at_most_one_is_unmasked(halves):
    everybody, fewer = (0, 1, 2, 3), (0, 1, 2)
    told = {i: everybody if i in halves or i == 3 else fewer for i in range(4)}
    answered = stories(4, 3, told)
    believers = Counter(told.values())
    assert set(answered) <= {story for story in believers if believers[story] >= 3}
    assert len(answered) <= 1


def test_two_stories_to_two_halves_are_never_unmasked_and_one_story_is():
    assert stories(4, 3, {0: (0, 1, 2, 3), 1: (0, 1, 2), 2: (0, 1, 2), 3: (0, 1, 2, 3)}) == {}
    assert stories(4, 3, dict.fromkeys(range(4), (0, 1, 2, 3))) == {(0, 1, 2, 3): {0, 1, 2, 3}}


def test_two_stories_of_who_has_shared_are_not_opened_by_one_list_of_survivors():
    """One site is told that five have shared, three that four have; all sign the same four survivors, and
    nobody answers.
    """
    policy = policy_of(5, threshold=4)
    sites = sites_of(policy, words_of(policy))
    state, outgoing = server.open_round(policy)
    while state.expected_type is not MessageType.MASKED:
        replies = {}
        for i, message in outgoing.items():
            sites[i], replies[i] = client.step(sites[i], message)
        state, outgoing = server.step(state, replies)
    four = (0, 1, 2, 3)
    for i in (1, 2, 3):
        dealt = {
            j: pair for j, pair in parse_delivery(server_body(outgoing[i]), i, 5, 3)[1].items() if j in four
        }
        outgoing[i] = from_server(MessageType.DELIVERY, policy.round_id, pack_delivery(dealt, four, i, 5))
    signatures = {}
    for i in four:
        sites[i], _ = client.step(sites[i], outgoing[i])
        sites[i], reply = client.step(
            sites[i], from_server(MessageType.SURVIVORS, policy.round_id, pack_set(four, 5))
        )
        signatures[i] = reply[-64:]
    for i in four:
        with pytest.raises(ProtocolError, match="does not hold for this round and its lists so far"):
            client.step(
                sites[i], from_server(MessageType.SIGNATURES, policy.round_id, pack_signatures(signatures, 5))
            )


# -- what the server learns
# ------------------------------------------------------------------------------------------------------------


def test_masked_bytes_are_uniform():
    policy = policy_of(3, threshold=2, length=40_000)
    words = [policy.encoding.quantize(np.zeros(40_000))] * 3
    transport = InProcessTransport(policy, sites_of(policy, words))
    run_round(policy, transport)
    for masked in transport.view.masked_vectors.values():
        counts = np.bincount(masked.view(np.uint8), minlength=256)
        assert 1e-4 < chi2.sf(((counts - counts.mean()) ** 2 / counts.mean()).sum(), 255) < 1 - 1e-4


def uploads(candidate, rounds=40):
    """All bytes of many rounds in which site 0 holds ``candidate`` and site 1 makes up for it."""
    policy = policy_of(3, threshold=2, length=32)
    seen = []
    for seed in range(rounds):
        words = [policy.encoding.quantize(v) for v in (candidate, 0.5 - candidate, np.zeros(32))]
        view = recorded(policy, words, seed + (0 if candidate[0] > 0 else rounds))
        seen.append(np.frombuffer(b"".join(letter.data for letter in view.received), np.uint8))
    return np.concatenate(seen), policy


def test_two_vectors_with_one_total_look_alike_to_the_server():
    first, policy = uploads(np.full(32, 0.4))
    second, _ = uploads(np.full(32, -0.4))
    assert len(first) == len(second) > 40 * 3 * 4 * policy.encoding.num_words
    assert ks_2samp(first, second).pvalue > 1e-3


def test_five_sites_of_a_real_model_size_sum_exactly():
    rng = np.random.default_rng(0)
    given = {f"site-{i}": rng.normal(0, 0.01, 110_000) for i in range(5)}
    result = secure_sum(
        given, weights={name: 900 + i for i, name in enumerate(given)}, dropouts={"site-3": "masked"}
    )
    assert result.exact
    assert result.survivors == ("site-0", "site-1", "site-2", "site-4")
    assert result.bytes_uploaded["site-0"] < 4 * 110_001 + 2500


def test_an_aggregation_that_loses_a_site_or_hides_nothing_is_named(monkeypatch):
    def lossy(vectors, *, dropouts=None):
        result = secure_sum(vectors, dropouts=dropouts)
        return replace(result, total=result.total - vectors["north"])

    with pytest.raises(AssertionError, match="the sum is exact: expected the sum over the survivors within"):
        check_aggregation(lossy)
    monkeypatch.setattr(masks, "add_stream", lambda *args, **kwargs: None)
    with pytest.raises(AssertionError, match="uploads hide their vectors: expected uniform bytes"):
        check_aggregation(SecureSum())
