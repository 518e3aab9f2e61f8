from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain.core.errors import ProtocolError
from quintain.federated.secagg import client, server
from quintain.federated.secagg.dealing import HolderShares
from quintain.federated.secagg.message_bodies import (
    pack_set,
    parse_key_list,
    parse_keys,
    parse_set,
    parse_signatures,
    parse_unmask,
    parse_vector,
)
from quintain.federated.secagg.share_messages import parse_complaint, parse_delivery, parse_shares
from quintain.federated.secagg.share_tree import build_tree, path, root, root_from_path
from tests.federated.rounds import federation

PARSERS = {
    "keys": lambda body: parse_keys(body, 1, 5),
    "key list": lambda body: parse_key_list(body, 5),
    "shares": lambda body: parse_shares(body, 5),
    "delivery": lambda body: parse_delivery(body, 1, 5, 3),
    "words": lambda body: parse_vector(body, 3),
    "consent": lambda body: parse_signatures(body, 5),
    "unmask": lambda body: parse_unmask(body, (0, 2)),
    "set": lambda body: parse_set(body, 5),
    "dealt": HolderShares.parse,
    "complaint": parse_complaint,
}


@pytest.mark.parametrize("name", PARSERS)
@settings(deadline=None, max_examples=50)
@given(
    body=st.one_of(
        st.binary(max_size=300),
        st.integers(0, 2000).map(bytes),
        st.integers(0, 2000).map(lambda n: b"\xff" * n),
    )
)
def test_any_bytes_are_read_or_refused_by_name(name, body):
    with suppress(ProtocolError):
        assert PARSERS[name](body) is not None


@settings(deadline=None, max_examples=50)
@given(members=st.sets(st.integers(0, 10)))
def test_a_set_of_sites_survives_the_wire(members):
    assert parse_set(pack_set(tuple(members), 11), 11) == tuple(sorted(members))


def test_a_set_may_not_name_a_site_beyond_the_roster():
    with pytest.raises(ProtocolError, match="names site 11; the roster lists 11"):
        parse_set(b"\x00\x08", 11)


@pytest.mark.parametrize("depth", [0, 1, 2, 5])
def test_every_leaf_leads_to_the_root_and_no_other_place_or_leaf_does(depth):
    for missing in range(1 << depth):
        places = [place for place in range(1 << depth) if place != missing or not depth]
        leaves = {place: bytes([place + 1]) * 32 for place in places}
        tree = build_tree(leaves, depth)
        for place, leaf in leaves.items():
            beside = path(tree, place)
            assert len(beside) == 32 * depth
            assert root_from_path(leaf, place, beside) == root(tree)
            assert root_from_path(bytes(31) + b"x", place, beside) != root(tree)
            assert not any(root_from_path(leaf, place ^ 1 << k, beside) == root(tree) for k in range(depth))
            for at in range(len(beside)):
                changed = beside[:at] + bytes([beside[at] ^ 1]) + beside[at + 1 :]
                assert root_from_path(leaf, place, changed) != root(tree)


def test_every_message_has_one_length_whatever_its_content():
    lengths = []
    for seed in range(3):
        party = federation(4, seed=seed, round_id=bytes([seed]) * 16)
        state, outgoing = server.open_round(party.policy)
        sizes = []
        while isinstance(state, server.RoundInProgress):
            replies = party.deliver(outgoing)
            sizes += [[len(m) for m in outgoing.values()], [len(m) for m in replies.values()]]
            state, outgoing = server.step(state, replies)
        assert all(len(set(stage)) == 1 for stage in sizes)
        lengths.append(sizes)
    assert lengths[0] == lengths[1] == lengths[2]


@settings(deadline=None, max_examples=50)
@given(junk=st.binary(max_size=200))
def test_junk_is_refused_by_a_site_and_costs_its_sender_the_round(junk):
    party = federation(3, threshold=2, corrupt=0)
    with pytest.raises(ProtocolError, match="message"):
        client.step(party.sites[0], junk)
    state, outgoing = server.open_round(party.policy)
    replies = party.deliver(outgoing)
    after, following = server.step(state, {**replies, 1: junk})
    assert set(following) == {0, 2}
    assert set(after.refused) == {"site-1"}
