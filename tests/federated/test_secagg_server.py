import re
from itertools import combinations

import numpy as np
import pytest

from quintain.core.errors import ProtocolError, SabotageError
from quintain.federated.aggregate import simulate_round
from quintain.federated.secagg import client, server
from quintain.federated.secagg.encoding import finest_encoding
from quintain.federated.secagg.journal import MemoryJournal
from quintain.federated.secagg.keys import Identity, Roster, RoundKeys
from quintain.federated.secagg.message_bodies import pack_keys, pack_unmask, parse_keys, parse_unmask
from quintain.federated.secagg.messages import MessageType, from_site, site_body
from quintain.federated.secagg.policy import Policy
from tests.federated.rounds import federation, total


@pytest.mark.parametrize("gone", [subset for size in range(3) for subset in combinations(range(5), size)])
def test_masks_of_the_silent_are_rebuilt(gone):
    party = federation(5, threshold=3, corrupt=0, length=7)
    state, outgoing = server.open_round(party.policy)
    for _ in range(2):
        state, outgoing = server.step(state, party.deliver(outgoing))
    replies = {i: m for i, m in party.deliver(outgoing).items() if i not in gone}
    for _ in range(2):
        state, outgoing = server.step(state, replies)
        replies = party.deliver(outgoing)
    finished, _ = server.step(state, replies)
    left = [i for i in range(5) if i not in gone]
    assert np.array_equal(finished.total, total([party.words[i] for i in left]))
    assert finished.survivors == tuple(f"site-{i}" for i in left)
    assert finished.dropped == tuple(f"site-{i}" for i in gone)


def lie(party, agreed, replies, liar, victim):
    """A site's answer with one false share, under its own good signature."""
    shares = parse_unmask(site_body(replies[liar]), tuple(range(len(party.policy.roster))))
    shares[victim] += 1
    return {
        **replies,
        liar: from_site(
            MessageType.UNMASK, party.policy, liar, pack_unmask(shares), agreed, party.identities[liar]
        ),
    }


@pytest.mark.parametrize("liar", range(4))
def test_a_liar_is_named_and_the_sum_is_exact(liar):
    party = federation(4)
    state, outgoing = party.run(client.Agreed)
    finished, _ = server.step(state, lie(party, state.transcript_hash, party.deliver(outgoing), liar, 0))
    assert np.array_equal(finished.total, total(party.words))
    assert finished.accused == (f"site-{liar}",)


def test_a_lie_without_spare_shares_abandons_the_round_and_names_its_site():
    party = federation(4)
    state, outgoing = party.run(client.Agreed)
    replies = lie(party, state.transcript_hash, party.deliver(outgoing), 1, 0)
    del replies[2]
    with pytest.raises(
        SabotageError, match=r"2 of 4 sites unmasked.*site-1: it revealed shares .* of site-0"
    ) as caught:
        server.step(state, replies)
    assert caught.value.accused == ("site-1",)


def test_a_share_outside_the_field_is_refused():
    party = federation(4)
    state, outgoing = party.run(client.Agreed)
    replies = party.deliver(outgoing)
    body = pack_unmask(dict.fromkeys(range(4), 2**264 - 1))
    finished, _ = server.step(
        state,
        {
            **replies,
            3: from_site(
                MessageType.UNMASK, party.policy, 3, body, state.transcript_hash, party.identities[3]
            ),
        },
    )
    assert np.array_equal(finished.total, total(party.words))
    assert "outside the field" in finished.refused["site-3"]


def test_copied_keys_exclude_both_and_small_ones_or_others_off_the_curve_their_sender():
    party = federation(5, threshold=3, corrupt=0)
    state, outgoing = server.open_round(party.policy)
    replies = party.deliver(outgoing)
    copied = from_site(
        MessageType.KEYS, party.policy, 1, site_body(replies[0]), state.transcript_hash, party.identities[1]
    )
    after, following = server.step(state, {**replies, 1: copied})
    assert set(following) == {2, 3, 4}
    assert set(after.refused) == {"site-0", "site-1"}
    body = bytearray(site_body(replies[1]))
    body[-32:] = bytes(32)
    small = from_site(
        MessageType.KEYS, party.policy, 1, bytes(body), state.transcript_hash, party.identities[1]
    )
    after, following = server.step(state, {**replies, 1: small})
    assert set(following) == {0, 2, 3, 4}
    assert "small order" in after.refused["site-1"]
    body[-32:], body[:32] = site_body(replies[1])[-32:], (2).to_bytes(32, "little")
    off_the_curve = from_site(
        MessageType.KEYS, party.policy, 1, bytes(body), state.transcript_hash, party.identities[1]
    )
    after, following = server.step(state, {**replies, 1: off_the_curve})
    assert set(following) == {0, 2, 3, 4}
    assert "off the curve" in after.refused["site-1"]


def test_a_copied_channel_key_costs_both_sites_their_place():
    """The rest of the keys being fresh."""
    party = federation(5, threshold=3, corrupt=0)
    state, offers = server.open_round(party.policy)
    keys = party.deliver(offers)
    theirs, mine = (parse_keys(site_body(keys[i]), i, 5) for i in (0, 1))
    copy = RoundKeys(mine.mask_public, {**mine.channel_public, 2: theirs.channel_public[2]})
    keys[1] = from_site(
        MessageType.KEYS, party.policy, 1, pack_keys(copy), state.transcript_hash, party.identities[1]
    )
    after, following = server.step(state, keys)
    assert set(after.keys) == set(following) == {2, 3, 4}
    assert "also another site's" in after.refused["site-0"]


def test_the_server_names_no_survivors_below_the_minimum():
    party = federation(4, threshold=3, minimum=4)
    state, outgoing = party.run(until=client.SharesSent)
    masked = party.deliver(outgoing)
    del masked[3]
    with pytest.raises(ProtocolError, match="3 of 4 sites sent a masked vector; 4 are needed"):
        server.step(state, masked)


def test_a_site_that_speaks_for_another_is_refused():
    party = federation(4)
    state, outgoing = server.open_round(party.policy)
    replies = party.deliver(outgoing)
    after, following = server.step(state, {**replies, 2: replies[1]})
    assert set(following) == {0, 1, 3}
    assert "in the name of sender 1" in after.refused["site-2"]


def test_too_few_sites_abandon_the_round_with_the_reasons():
    party = federation(4)
    state, outgoing = server.open_round(party.policy)
    replies = party.deliver(outgoing)
    with pytest.raises(
        ProtocolError, match=r"2 of 4 sites sent keys; 3 are needed: .*site-3: .*no message of this protocol"
    ):
        server.step(state, {0: replies[0], 1: replies[1], 3: b"junk"})


def test_the_server_holds_sums_of_masked_vectors_only():
    party = federation(4, length=50)
    state, outgoing = party.run(client.SharesSent)
    state, _ = server.step(state, party.deliver(outgoing))
    assert isinstance(state, server.RoundInProgress)
    for hidden in (*party.words, total(party.words)):
        assert np.mean(state.masked_sum == hidden) == 0


@pytest.mark.parametrize(
    ("lie", "match"),
    [({0: 2**30}, "entry 0 of the sum"), ({2: -(2**30)}, "entry 2 of the sum"), ({-1: 2**20}, "weights")],
)
def test_a_sum_that_one_site_made_impossible_is_refused(lie, match):
    given = {f"site-{i}": np.full(4, 0.5) for i in range(5)}
    identities = {name: Identity.create(name) for name in given}
    encoding = finest_encoding(4, 1.0, 5, max_weight=8)
    terms = Policy(Roster.from_identities(*identities.values()), bytes(16), 4, 4, encoding, bytes(32))
    words = {name: encoding.quantize(vector, 2) for name, vector in given.items()}
    assert simulate_round(
        terms, identities, words, {}, journals={name: MemoryJournal() for name in words}
    ).mean == pytest.approx(np.full(4, 0.5))
    for place, value in lie.items():
        words["site-3"][place] = np.int64(value).astype(np.uint32)
    with pytest.raises(ProtocolError, match=match):
        simulate_round(terms, identities, words, {}, journals={name: MemoryJournal() for name in words})


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ({1: None}, "a NoneType"),
        ({1: "QSA3"}, "a str"),
        ({1: 7}, "an? int"),
        ({1: ["x"]}, "a list"),
        ({1: np.zeros(9)}, "a ndarray"),
    ],
)
def test_a_message_of_another_type_costs_its_sender_the_round(messages, reason):
    party = federation(4)
    state, outgoing = server.open_round(party.policy)
    after, following = server.step(state, {**party.deliver(outgoing), **messages})
    assert set(following) == {0, 2, 3}
    assert re.match(f"{reason} that is no message of this protocol", after.refused["site-1"])


def test_what_is_no_state_or_no_mapping_is_refused_by_name():
    party = federation(4)
    finished, _ = party.run()
    for state in (finished, None):
        with pytest.raises(ProtocolError, match=f"state is a {type(state).__name__}"):
            server.step(state, {})
    with pytest.raises(ProtocolError, match="messages is a list"):
        server.step(server.open_round(party.policy)[0], [b"QSA3"])
