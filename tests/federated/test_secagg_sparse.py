"""Rounds along a sparse graph: exact sums under dropouts, and what a server must not get away with.

The chances behind the graph's parameters hold for large federations (``test_secagg_graph``); here small ones
use graphs that are too thin to be safe, so that every path is walked in milliseconds.
"""

import contextlib
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain.core.errors import MechanismError, ProtocolError, SabotageError
from quintain.federated import in_process
from quintain.federated.aggregate import RoundAbandonedError, secure_sum
from quintain.federated.hidden import require_hidden
from quintain.federated.in_process import InProcessTransport
from quintain.federated.secagg import client, dealing, graph, key_list, mask_graph, masks, server
from quintain.federated.secagg.encoding import WORD_DTYPE
from quintain.federated.secagg.graph import GraphParameters
from quintain.federated.secagg.journal import MemoryJournal
from quintain.federated.secagg.key_list import shared_part
from quintain.federated.secagg.mask_graph import MaskGraph
from quintain.federated.secagg.message_bodies import pack_set, parse_unmask, set_bytes
from quintain.federated.secagg.messages import MessageType, from_server, server_body, site_body
from quintain.federated.secagg.policy import Task
from quintain.federated.secagg.shamir import interpolate
from quintain.federated.secagg.share_messages import pack_delivery, parse_delivery
from quintain.federated.secagg.share_tree import tree_depth
from quintain.federated.secagg_sum import run_round
from quintain.federated.transport import DropoutStage
from quintain.federated.unmasking_attack import attack_masks
from tests.federated.rounds import federation, total

N, T = 12, 8
STAGES = tuple(DropoutStage)
TOO_THIN = "neighbors of|holders of|fall apart|of this site's neighbors"
"""What a server or a site says of a graph in which too few of those are left who know each other."""


@contextlib.contextmanager
def sparse(degree: int, threshold: int, rows: tuple[tuple[int, ...], ...] | None = None) -> Iterator[None]:
    """Use a sparse graph of this size in small federations too, or one with these very rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mask_graph, "COMPLETE_UP_TO", 4)
        patch.setattr(graph, "choose_parameters", lambda *_: GraphParameters(degree, threshold))
        if rows is not None:
            patch.setattr(graph, "neighbors", lambda *_: rows)
        mask_graph.sparse_parameters.cache_clear()
        yield
    mask_graph.sparse_parameters.cache_clear()


def thin(**changes):
    """A federation of ``N`` sites whose masks go along a sparse graph."""
    return federation(N, threshold=T, **changes)


# -- what comes out is the plain sum


any_silence = given(
    gone=st.dictionaries(st.integers(0, N - 1), st.sampled_from(STAGES), max_size=6),
    degree=st.sampled_from((4, 6, 8)),
    seed=st.integers(0, 2**32),
)


@settings(max_examples=15, deadline=None)
@any_silence
def test_a_sparse_round_is_the_plain_sum_or_abandoned(gone, degree, seed):
    with sparse(degree, 2):
        assert_plain_or_abandoned(gone, seed)


@pytest.mark.exhaustive
@settings(max_examples=40, deadline=None)
@any_silence
def test_each_of_many_more_sparse_rounds_is_the_plain_sum_or_abandoned(gone, degree, seed):
    with sparse(degree, 2):
        assert_plain_or_abandoned(gone, seed)


def assert_plain_or_abandoned(gone, seed=0):
    """Sum with these sites gone; return who left by itself, which only one without neighbors may."""
    rng = np.random.default_rng(seed)
    vectors = {f"site-{i}": rng.uniform(-1, 1, 5) for i in range(N)}
    dropouts = {f"site-{i}": stage for i, stage in gone.items()}
    try:
        found = secure_sum(vectors, dropouts=dropouts, threshold=T, min_survivors=T)
    except RoundAbandonedError as error:
        abandoned, left = str(error), error.left
    else:
        abandoned, left = "", found.left
    # a site that refuses tells the server nothing: its reason is in what the simulation alone knows
    if abandoned:
        assert len(gone) > N - T or re.search(TOO_THIN, abandoned)
        return left
    assert found.exact
    assert all(re.search("of this site's neighbors", why) for why in left.values())
    absent = {name for name, stage in dropouts.items() if stage.first_missing <= MessageType.MASKED}
    assert set(found.survivors) == set(vectors) - absent - set(left)
    expected = sum(found.encoding.quantize(vectors[name]).astype(np.int64) for name in found.survivors)
    assert np.array_equal(found.integers.astype(np.uint32), expected.astype(np.uint32))
    return left


@pytest.mark.parametrize("stage", STAGES)
def test_thirty_percent_may_drop_out_at_any_stage(stage):
    vectors = {f"site-{i}": np.full(3, i / 20) for i in range(20)}
    with sparse(14, 2):
        found = secure_sum(
            vectors, dropouts={f"site-{i}": stage for i in range(0, 18, 3)}, threshold=14, min_survivors=14
        )
    assert found.exact
    assert len(found.survivors) == (14 if stage.first_missing <= MessageType.MASKED else 20)


def test_a_real_federation_above_the_limit_has_a_sparse_graph_and_an_exact_hidden_sum():
    n = mask_graph.COMPLETE_UP_TO + 1
    vectors = {f"site-{i}": np.linspace(-1, 1, 300) * (i / n) for i in range(n)}
    found = secure_sum(vectors, min_survivors=n - 5, dropouts={f"site-{i}": STAGES[i] for i in range(5)})
    chosen = found.server_view.policy.sparse_graph
    assert chosen is not None
    assert chosen.degree < n // 2
    assert found.exact
    require_hidden(
        found.server_view, {name: found.encoding.quantize(vector) for name, vector in vectors.items()}
    )
    revealed = Counter(owner for owner, _, _ in found.server_view.revealed_shares)
    assert max(revealed.values()) <= chosen.degree + 1


def test_no_site_gives_both_kinds_of_share_of_anybody():
    kinds = {}
    with sparse(6, 2):
        party = thin()
        state, outgoing = party.run(client.SharesSent)
        replies = {i: reply for i, reply in party.deliver(outgoing).items() if i not in (3, 7)}
        state, outgoing = server.step(state, replies)
        state, outgoing = server.step(state, party.deliver(outgoing))
        for giver, reply in party.deliver(outgoing).items():
            for owner in parse_unmask(site_body(reply), state.graph.near(giver, state.sharers)):
                kinds.setdefault(owner, set()).add(owner in state.survivors)
    assert all(len(kind) == 1 for kind in kinds.values())
    assert {owner for owner, kind in kinds.items() if kind == {False}} == {3, 7}


def test_a_site_has_keys_and_shares_of_its_neighbors_alone():
    with sparse(4, 2):
        party = thin()
        state, _ = party.run(client.Masked)
        for i, site in party.sites.items():
            assert len(site.held_shares.peek()) == 66 * len(site.graph.near(i, range(N)))
            assert site.graph.rows == state.graph.rows
        party = thin(seed=1)
        party.run(client.SharesSent)
        for i, site in party.sites.items():
            assert set(site.public_keys) == set(site.graph.neighbors(i))


# -- the graph follows the keys


def graphs_of(*seeds):
    """The graph of a round for each set of keys."""
    with sparse(4, 2):
        return [thin(seed=seed).run(client.SharesSent)[0].graph.rows for seed in seeds]


def test_the_graph_follows_the_keys_and_a_fixed_seed_does_not(monkeypatch):
    one, same, other = graphs_of(0, 0, 1)
    assert one == same != other
    drawn = mask_graph.draw_graph
    monkeypatch.setattr(key_list, "draw_graph", lambda sizes, _seed, n: drawn(sizes, bytes(32), n))
    one, other = graphs_of(0, 1)
    assert one == other  # what the mutant does: a server could have known it before it corrupted anybody


def test_a_server_that_draws_another_graph_than_the_keys_say_is_refused():
    with sparse(4, 2):
        party = thin()
        state, outgoing = server.open_round(party.policy)
        replies = party.deliver(outgoing)
        drawn = mask_graph.draw_graph
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(key_list, "draw_graph", lambda sizes, _seed, n: drawn(sizes, bytes(32), n))
            _, outgoing = server.step(state, replies)
        for i in range(N):
            with pytest.raises(
                ProtocolError, match=r"another hash than the list|keys of this site's neighbors"
            ):
                client.step(party.sites[i], outgoing[i])


def fresh(policy):
    """The same terms in an object of its own: a policy remembers its digest."""
    return replace(policy)


def test_terms_of_the_graph_are_refused_by_name_and_bound_into_the_transcript():
    with sparse(4, 2):
        party = thin()
        digest = fresh(party.policy).digest()
    with sparse(6, 2):
        _, outgoing = server.open_round(party.policy)
        assert fresh(party.policy).digest() != digest
    with sparse(4, 3):
        assert fresh(party.policy).digest() != digest
    with sparse(4, 2), pytest.raises(ProtocolError, match="offers neighbors = 6"):
        client.step(party.sites[0], outgoing[0])
    assert fresh(party.policy).digest() not in (digest, b"")
    assert party.policy.sparse_graph is None


# -- a list that is not what it should be


def at_keys(change):
    """A federation at the list of keys, with one site's copy changed by ``change(state, body)``."""
    party = thin()
    state, outgoing = server.open_round(party.policy)
    state, outgoing = server.step(state, party.deliver(outgoing))
    body = change(state, server_body(outgoing[0]))
    return party, from_server(MessageType.KEY_LIST, party.policy.round_id, body)


def swapped_neighbor(state, body):
    head = len(shared_part(state.policy, body))
    return body[:head] + bytes([body[head] ^ 1]) + body[head + 1 :]


def swapped_hash(state, body):
    start = set_bytes(N)
    return body[:start] + bytes(32) + body[start + 32 :]


def lost_neighbor(state, body):
    return body[: -(32 * 5 + 64)]


def forged_signature(_state, body):
    return body[:-64] + bytes(64)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (swapped_neighbor, "another hash than the list|not canonical|off the curve"),
        (swapped_hash, "other keys for this site|another hash|keys of this site's neighbors"),
        (lost_neighbor, "the keys of this site's neighbors"),
        (forged_signature, "signature of 'site-"),
    ],
)
def test_a_list_of_keys_that_was_changed_is_refused(change, match):
    with sparse(4, 2):
        party, message = at_keys(change)
        with pytest.raises(ProtocolError, match=match):
            client.step(party.sites[0], message)


def test_a_server_that_says_most_neighbors_did_not_share_is_refused():
    with sparse(6, 3):
        party = thin()
        state, outgoing = party.run(client.SharesSent)
        beside = state.graph.neighbors(0)
        members, dealt = parse_delivery(server_body(outgoing[0]), 0, N, tree_depth(party.policy), beside)
        left = set(beside[:2])
        members = tuple(i for i in members if i not in beside or i in left)
        party.policy = replace(party.policy)
        body = pack_delivery({i: dealt[i] for i in left}, members, 0, N)
        message = from_server(MessageType.DELIVERY, party.policy.round_id, body)
        if len(members) < T:
            match = "sites have shared"
        else:
            match = "2 of this site's neighbors have shared; expected 3"
        with pytest.raises(ProtocolError, match=match):
            client.step(party.sites[0], message)


# -- a server that chooses the survivors

CLIQUES = tuple(
    tuple(sorted({*(range(5) if i < 5 else range(5, 10)), 10, 11} - {i}))
    if i < 10
    else tuple(j for j in range(N) if j != i)
    for i in range(N)
)
"""Two groups of five that share masks with sites 10 and 11 alone beside themselves."""
ALL = tuple(tuple(j for j in range(N) if j != i) for i in range(N))
STAR = tuple(
    (1, 2, 3) if i == 0 else tuple(j for j in range(N) if j != i and (j or i in (1, 2, 3))) for i in range(N)
)
"""All pairs share masks, but site 0 does with 1, 2 and 3 alone."""


def played(rows, degree, threshold, dropped):
    """The server's view of a round in which it drops some sites, along a given graph."""
    party = thin(length=64)
    transport = InProcessTransport(party.policy, party.sites, dict.fromkeys(dropped, DropoutStage.MASKED))
    outcome = run_round(party.policy, transport)
    return party, transport.view, outcome


def refusals(rows, degree, threshold, survivors):
    """What each of the survivors says to a list of them."""
    party = thin()
    party.run(client.Masked)
    body = pack_set(survivors, N)
    message = from_server(MessageType.SURVIVORS, party.policy.round_id, body)
    said = []
    for i in survivors:
        with pytest.raises(ProtocolError) as caught:
            client.step(party.sites[i], message)
        said.append(str(caught.value))
    return said


def test_survivors_that_fall_apart_are_refused_by_every_site():
    with sparse(11, 2, CLIQUES):
        said = refusals(CLIQUES, 11, 2, tuple(range(10)))
    assert all("fall apart" in one for one in said)


def recovered(view, owner):
    """The secret of a site, from the first two of its shares that were revealed."""
    points = [(giver + 1, value) for of, giver, value in view.revealed_shares if of == owner]
    return interpolate(dict(points[:2]))


def test_without_the_check_of_connectedness_a_group_is_summed_apart(monkeypatch):
    monkeypatch.setattr(graph, "is_connected", lambda *_: True)
    with sparse(11, 2, CLIQUES):
        party, view, _ = played(CLIQUES, 11, 2, (10, 11))
        group = np.zeros(64, WORD_DTYPE)
        for i in range(5):
            group += view.masked_vectors[f"site-{i}"]
            seed = recovered(view, i).to_bytes(32, "big")
            masks.add_self_mask(group, seed, view.transcript_hash, i, remove=True)
            for lost in (10, 11):
                private = recovered(view, lost).to_bytes(32, "big")
                public = view.keys[i].mask_public
                stream = masks.pair_stream(private, public, view.transcript_hash, i, lost, remove=True)
                masks.add_streams(group, [stream])
    assert np.array_equal(group, total(party.words[:5]))


def test_a_server_that_drops_all_but_few_of_a_sites_neighbors_is_refused_by_name():
    with sparse(11, 2, STAR):
        said = refusals(STAR, 11, 2, (0, 1, *range(4, N)))
    assert all("only 1 neighbors of 'site-0' survived; expected 2" in one for one in said)


def test_without_the_check_of_neighbors_only_the_mask_of_one_colluding_site_is_left(monkeypatch):
    with sparse(11, 2, STAR):
        with pytest.raises(ProtocolError, match="only 1 neighbors of 'site-0' survived"):
            played(STAR, 11, 2, (2, 3))
        monkeypatch.setattr(MaskGraph, "weakness", lambda *_: "")
        _, view, _ = played(STAR, 11, 2, (2, 3))
        assert attack_masks(view, "site-0").remaining_masks == ("site-1",)


def test_the_server_abandons_a_round_whose_survivors_no_site_would_sign():
    vectors = {f"site-{i}": np.zeros(3) for i in range(N)}
    with sparse(11, 2, STAR), pytest.raises(RoundAbandonedError, match="only 1 neighbors of 'site-0'"):
        secure_sum(vectors, dropouts={"site-2": "masked", "site-3": "masked"}, threshold=T, min_survivors=T)


@pytest.mark.parametrize("stage", ["keys", "shares"])
@pytest.mark.parametrize("others", [(), (4, 5)])
def test_a_site_that_lost_its_neighbors_leaves_by_itself_and_only_a_simulation_knows_why(stage, others):
    """It deals nothing, and the others are summed; or sends no vector, and nobody can take off its masks."""
    gone = dict.fromkeys((1, 2, *others), DropoutStage(stage))
    with sparse(11, 2, STAR):
        left = assert_plain_or_abandoned(gone)
    assert left.keys() == {"site-0"}
    assert "1 of this site's neighbors" in left["site-0"]
    assert "fewer would not hide its vector" in left["site-0"]


def two_cohorts(journals):
    """Two rounds over one model whose survivors differ by one site, each answered by two other sites."""
    opened = []
    for number, dropped in enumerate(((), (11,))):
        party = thin(round_id=bytes([number]) * 16)
        policy = replace(party.policy, task=Task(counter=number))
        sites = {
            i: client.start_round(policy, party.identities[i], party.words[i], journals[i]) for i in range(N)
        }
        silent = dict.fromkeys(set(range(N)) - {2 * number, 2 * number + 1}, DropoutStage.UNMASK)
        silent |= dict.fromkeys(dropped, DropoutStage.MASKED)
        transport = InProcessTransport(policy, sites, silent)
        opened.append(run_round(policy, transport))
    return opened


def test_two_parts_of_the_sites_do_not_open_two_cohorts_over_one_model():
    journals = {i: MemoryJournal() for i in range(N)}
    with sparse(11, 2, ALL), pytest.raises(ProtocolError, match=r"0 of 12 sites signed the survivors"):
        two_cohorts(journals)


def test_without_the_claim_before_signing_they_do(monkeypatch):
    monkeypatch.setattr(MemoryJournal, "claim_cohort", MemoryJournal.check_cohort)
    with sparse(11, 2, ALL):
        whole, less = two_cohorts({i: MemoryJournal() for i in range(N)})
    assert set(whole.survivors) - set(less.survivors) == {"site-11"}
    assert np.array_equal(whole.total - less.total, thin().words[11])


# -- mutants of the masks


def test_a_mask_that_one_of_two_neighbors_leaves_out_makes_an_impossible_sum(monkeypatch):
    streams = masks.pair_streams

    def forgetful(private, peers, transcript_hash, site):
        left_out = forgetful.peer if site == 0 else None
        kept = {peer: public for peer, public in peers.items() if peer != left_out}
        return streams(private, kept, transcript_hash, site)

    with sparse(4, 2):
        party = thin(length=64)
        state, outgoing = party.run(client.SharesSent)
        forgetful.peer = state.graph.neighbors(0)[0]
        monkeypatch.setattr(masks, "pair_streams", forgetful)
        state, outgoing = server.step(state, party.deliver(outgoing))
        state, outgoing = server.step(state, party.deliver(outgoing))
        with pytest.raises(ProtocolError, match="a site lied about its vector"):
            server.step(state, party.deliver(outgoing))


def test_masks_that_leave_words_bare_are_noticed_along_a_sparse_graph(monkeypatch):
    add = masks.add_stream
    monkeypatch.setattr(
        masks, "add_stream", lambda encoded, key, **how: add(encoded[len(encoded) // 2 :], key, **how)
    )
    vectors = {f"site-{i}": np.linspace(-1, 1, 400) for i in range(N)}
    with sparse(6, 2):
        found = secure_sum(vectors, threshold=T, min_survivors=T)
        truth = {name: found.encoding.quantize(vector) for name, vector in vectors.items()}
        with pytest.raises(MechanismError, match="gives away the vector"):
            require_hidden(found.server_view, truth)


def test_who_deals_a_neighbor_a_bad_share_is_named(monkeypatch):
    deal = dealing.deal

    def bad_deal(transcript_hash, dealer, holder, key, pair):
        key = bytes(32) if (dealer, holder) == bad_deal.pair else key
        return deal(transcript_hash, dealer, holder, key, pair)

    with sparse(4, 2):
        party = thin()
        state, _ = thin().run(client.SharesSent)  # the same keys, hence the same graph
        bad_deal.pair = (state.graph.neighbors(5)[0], 5)
        monkeypatch.setattr(dealing, "deal", bad_deal)
        state, outgoing = party.run(client.SharesSent)
        with pytest.raises(SabotageError) as caught:
            server.step(state, party.deliver(outgoing))
    assert caught.value.accused == (f"site-{bad_deal.pair[0]}",)


# -- one vector at a time


@pytest.mark.parametrize("degree", [None, 6])
def test_vectors_that_arrive_one_by_one_give_the_same_sum_in_any_order(degree):
    with sparse(degree, 2) if degree else contextlib.nullcontext():
        sums = []
        for order in (range(N), reversed(range(N))):
            party = thin()
            state, outgoing = party.run(client.SharesSent)
            replies = party.deliver(outgoing)
            arriving = ((i, replies[i]) for i in order)
            # what comes twice counts once
            state, outgoing = server.step(state, itertools.chain(arriving, [(3, replies[3])]))
            for _ in range(2):
                state, outgoing = server.step(state, party.deliver(outgoing))
            sums.append(state.total)
    assert np.array_equal(sums[0], total(party.words))
    assert np.array_equal(sums[0], sums[1])


def test_the_server_takes_one_vector_after_the_other():
    party = federation(5, length=1000)
    state, outgoing = party.run(client.SharesSent)
    alive = []

    def arrivals():
        for i, message in outgoing.items():
            party.sites[i], reply = client.step(party.sites[i], message)
            alive.append(i)
            yield i, reply

    arriving = arrivals()
    state, _ = server.step(state, arriving)
    assert alive == list(range(5))
    assert next(arriving, None) is None
    assert state.masked_sum.nbytes == 4000
    assert len(state.survivors) == 5


@pytest.mark.parametrize("kind", ["KEYS", "SHARES", "MASKED", "UNMASK"])
def test_malformed_messages_in_a_sparse_round_leave_the_attack_as_it_was(kind):
    vectors = {f"site-{i}": np.full(60, i / 20) for i in range(N)}
    with sparse(8, 3):
        found = secure_sum(vectors, dropouts={"site-3": "late"}, threshold=T, min_survivors=T)
        view = found.server_view
        sound = {name: attack_masks(view, name) for name in vectors}
        short = [
            replace(one, data=one.data[:40] + one.data[-64:])
            for one in view.received
            if one.type is MessageType[kind]
        ]
        assert len(short) >= N - 1
        for received in ((*short, *view.received), (*view.received, *short)):
            tampered = replace(view, received=received)
            for name, expected in sound.items():
                attempt = attack_masks(tampered, name)
                assert attempt.remaining_masks == expected.remaining_masks
                assert np.array_equal(attempt.encoded, expected.encoded)
    assert sound["site-3"].remaining_masks == ("self",)


def test_a_record_keeps_so_many_bytes_of_vectors_and_counts_the_others(monkeypatch):
    vectors = {f"site-{i}": np.zeros(500) for i in range(5)}
    whole = secure_sum(vectors)
    monkeypatch.setattr(in_process, "MAX_KEPT_BYTES", 5000)
    found = secure_sum(vectors)
    assert found.exact
    assert found.bytes_uploaded == whole.bytes_uploaded
    assert tuple(found.server_view.masked_vectors) == ("site-0", "site-1")
    assert found.server_view.num_masked_vectors == 5
    truth = {name: found.encoding.quantize(vector) for name, vector in vectors.items()}
    require_hidden(found.server_view, truth)
