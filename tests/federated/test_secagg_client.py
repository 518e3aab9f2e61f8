"""What a site refuses, and that it tells no secret."""

import copy
import errno
import os
import pickle
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quintain.core.errors import ProtocolError, SettingError, StorageError
from quintain.federated.secagg import client, client_unmask, dealing, server
from quintain.federated.secagg.dealing import DEALT_BYTES, HolderShares
from quintain.federated.secagg.encoding import WORD_DTYPE, Encoding
from quintain.federated.secagg.folder_journal import FolderJournal
from quintain.federated.secagg.journal import MemoryJournal
from quintain.federated.secagg.keys import Identity, Roster, RoundKeys
from quintain.federated.secagg.message_bodies import (
    SignedKeys,
    pack_key_list,
    pack_offer,
    pack_set,
    pack_signatures,
    pack_unmask,
    parse_key_list,
    parse_signatures,
    parse_unmask,
)
from quintain.federated.secagg.messages import MessageType, from_server, server_body, site_body
from quintain.federated.secagg.policy import Policy, Task, default_threshold
from quintain.federated.secagg.primitives import x25519_public
from quintain.federated.secagg.secret import HeldVector, Secret
from quintain.federated.secagg.share_messages import Complaint, DeliveredShares, pack_delivery, parse_delivery
from tests.federated.rounds import federation

SMALL = bytes.fromhex("01" + "00" * 31)


def refuses(party, site, kind, body, match):
    """The site refuses, and a proper message would still be taken."""
    before = party.sites[site]
    with pytest.raises(ProtocolError, match=match):
        client.step(before, from_server(kind, party.policy.round_id, body))


OFFERS = {
    "threshold": lambda p: replace(p, threshold=4),
    "min_survivors": lambda p: replace(p, min_survivors=6),
    "max_corrupt": lambda p: replace(p, max_corrupt=0),
    "length": lambda p: replace(p, encoding=replace(p.encoding, length=2)),
    "clip_value": lambda p: replace(p, encoding=replace(p.encoding, clip_value=0.5)),
    "scale": lambda p: replace(p, encoding=replace(p.encoding, scale=10)),
    "max_weight": lambda p: replace(p, encoding=replace(p.encoding, max_weight=10)),
    "roster": lambda p: replace(
        p, roster=Roster(p.roster.names, (p.roster.keys[1], p.roster.keys[0], *p.roster.keys[2:]))
    ),
    "model hash": lambda p: replace(p, model_hash=bytes(32)),
    "round counter": lambda p: replace(p, task=Task(counter=1)),
    "federation": lambda p: replace(p, task=Task(federation="another")),
    "recipe": lambda p: replace(p, task=Task(recipe="Recipe(epochs=2)")),
    "objective": lambda p: replace(p, task=Task(objective="Recipe(epochs=2)")),
    "data": lambda p: replace(p, task=Task(data="Recipe(epochs=2)")),
    "weights": lambda p: replace(p, task=Task(weights=(2, 2, 2, 2, 2, 2))),
}


@pytest.mark.parametrize("term", OFFERS)
def test_an_offer_of_other_terms_is_refused_by_name(term):
    party = federation(6, threshold=5, minimum=5)
    refuses(
        party,
        0,
        MessageType.OFFER,
        pack_offer(OFFERS[term](party.policy)),
        f"offers {term} = .*this site's policy says",
    )


def test_an_offer_of_another_round_is_a_replay():
    party = federation(3)
    other = replace(party.policy, round_id=b"x" * 16)
    with pytest.raises(ProtocolError, match="a replay is refused"):
        client.step(party.sites[0], from_server(MessageType.OFFER, other.round_id, pack_offer(other)))


def tampered_keys(party, listed, how):
    entropy = random.Random(9).randbytes
    entry = listed[1]
    channel = entry.keys.channel_public
    if how == "own":
        listed[0] = SignedKeys(
            RoundKeys(listed[1].keys.mask_public, listed[0].keys.channel_public), listed[0].signature
        )
        del listed[1]
    elif how == "twice":
        listed[1] = SignedKeys(
            RoundKeys(entry.keys.mask_public, {**channel, 0: listed[2].keys.channel_public[0]}),
            entry.signature,
        )
    elif how == "stranger":
        listed[1] = SignedKeys(RoundKeys(x25519_public(entropy(32)), channel), entry.signature)
    elif how == "channel of a stranger":
        listed[1] = SignedKeys(
            RoundKeys(entry.keys.mask_public, {**channel, 3: x25519_public(entropy(32))}), entry.signature
        )
    elif how == "borrowed signature":
        listed[1] = SignedKeys(entry.keys, listed[2].signature)
    elif how == "small order":
        listed[1] = SignedKeys(RoundKeys(entry.keys.mask_public, {**channel, 2: SMALL}), entry.signature)
    elif how == "equal":
        listed[1] = SignedKeys(
            RoundKeys(entry.keys.mask_public, {**channel, 2: entry.keys.mask_public}), entry.signature
        )
    elif how == "off the curve":
        listed[1] = SignedKeys(RoundKeys((2).to_bytes(32, "little"), channel), entry.signature)
    elif how == "spelled otherwise":
        copied = listed[2].keys.mask_public
        listed[1] = SignedKeys(
            RoundKeys(entry.keys.mask_public, {**channel, 2: copied[:31] + bytes([copied[31] | 128])}),
            entry.signature,
        )
    elif how == "left out":
        del listed[0]
    elif how == "too few":
        del listed[1], listed[2]
    return pack_key_list(listed, len(party.policy.roster))


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ("own", "other keys for this site than it sent"),
        ("twice", "a key stands twice"),
        ("stranger", "signature of 'site-1'"),
        ("borrowed signature", "signature of 'site-1'"),
        ("small order", "small order"),
        ("channel of a stranger", "signature of 'site-1'"),
        ("equal", "equal, of small order"),
        ("off the curve", "signature of 'site-1'"),
        ("spelled otherwise", "not canonical"),
        ("left out", "this site is missing"),
        ("too few", "2 sites take part; .* asks for 3"),
    ],
)
def test_a_dishonest_list_of_keys_is_refused(how, match):
    party = federation(4)
    _, outgoing = party.run(client.Joined)
    listed = parse_key_list(server_body(outgoing[0]), 4)
    refuses(party, 0, MessageType.KEY_LIST, tampered_keys(party, listed, how), match)
    assert isinstance(client.step(party.sites[0], outgoing[0])[0], client.SharesSent)


def test_keys_of_another_round_are_refused():
    first, second = federation(3, seed=1, round_id=b"1" * 16), federation(3, seed=1, round_id=b"2" * 16)
    _, old = first.run(client.Joined)
    second.run(client.Joined)
    refuses(second, 0, MessageType.KEY_LIST, server_body(old[0]), "signature")


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ("swapped", "signature of 'site-1' on the shares"),
        ("sealed text flipped", "signature of 'site-1' on the shares"),
        ("hash flipped", "signature of 'site-1' on the shares"),
        ("way up flipped", "signature of 'site-1' on the shares"),
        ("signature flipped", "signature of 'site-1' on the shares"),
        ("for another site", "signature of 'site-1' on the shares"),
        ("of another round", "signature of 'site-1' on the shares"),
        ("not listed", "not listed before"),
        ("left out", "this site is missing"),
        ("too few", "2 sites have shared"),
    ],
)
def test_a_dishonest_delivery_is_refused(how, match):
    party = federation(4)
    state, outgoing = server.open_round(party.policy)
    state, outgoing = server.step(
        state, party.deliver({i: outgoing[i] for i in range(4 if how != "not listed" else 3)})
    )
    state, outgoing = server.step(state, party.deliver(outgoing))
    members, sealed = parse_delivery(server_body(outgoing[0]), 0, 4, 2)
    places = {
        "hash flipped": 0,
        "sealed text flipped": 48,
        "way up flipped": DEALT_BYTES + 32,
        "signature flipped": DEALT_BYTES + 2 * 32 + 63,
    }
    if how == "swapped":
        sealed[1], sealed[2] = sealed[2], sealed[1]
    elif how in places:
        packed = bytearray(sealed[1].pack())
        packed[places[how]] ^= 1
        sealed[1] = parse_delivery(b"\x02" + bytes(packed), 0, 4, 2)[1][1]
    elif how in ("for another site", "of another round"):
        state = party.sites[1]
        link, holder = (state.transcript_hash, 2) if how == "for another site" else (bytes(32), 0)
        sealed[1] = replace(sealed[1], dealt=dealing.deal(link, 1, holder, bytes(32), (1, 1)))
    elif how == "not listed":
        members, sealed[3] = (0, 1, 2, 3), sealed[1]
    elif how == "left out":
        members, sealed[0] = (1, 2, 3), sealed[1]
    elif how == "too few":
        members = (0, 1)
    body = pack_set(members, 4) + b"".join(sealed[i].pack() for i in members if i != 0)
    refuses(party, 0, MessageType.DELIVERY, body, match)
    assert isinstance(client.step(party.sites[0], outgoing[0])[0], client.Masked)


@pytest.mark.parametrize(
    ("survivors", "match"),
    [
        ((0, 1, 2), "3 sites survived.*asks for 4"),
        ((1, 2, 3, 4), "this site is missing"),
        ((0, 1, 2, 4, 5), "not listed before"),
    ],
)
def test_a_dishonest_list_of_survivors_is_refused(survivors, match):
    party = federation(6, threshold=4, minimum=4, corrupt=0)
    state, outgoing = server.open_round(party.policy)
    state, outgoing = server.step(state, party.deliver(outgoing))
    replies = party.deliver(outgoing)
    del replies[5]
    state, outgoing = server.step(state, replies)
    party.deliver(outgoing)
    refuses(party, 0, MessageType.SURVIVORS, pack_set(survivors, 6), match)


def test_a_sum_below_the_minimum_is_not_opened_though_the_threshold_is_met():
    party = federation(5, threshold=4, minimum=5)
    party.run(client.Masked)
    refuses(party, 0, MessageType.SURVIVORS, pack_set((0, 1, 2, 3), 5), "asks for 5")


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ("too few", "2 signatures"),
        ("not a survivor", "all of survivors"),
        ("forged", "signature of 'site-1'"),
        ("of another list", "signature of 'site-1'"),
    ],
)
def test_survivors_are_not_unmasked_without_enough_signatures_on_this_very_list(how, match):
    party = federation(4)
    party.run(client.Masked)
    three = from_server(MessageType.SURVIVORS, party.policy.round_id, pack_set((0, 1, 2), 4))
    four = from_server(MessageType.SURVIVORS, party.policy.round_id, pack_set((0, 1, 2, 3), 4))
    other = client.step(federation_copy(party, 1), four)[1][-64:]
    replies = party.deliver(dict.fromkeys((0, 1, 2), three))
    signatures = {i: reply[-64:] for i, reply in replies.items()}
    good = pack_signatures(signatures, 4)
    if how == "too few":
        del signatures[1]
    elif how == "not a survivor":
        signatures[3] = signatures[2]
    else:
        signatures[1] = bytes(64) if how == "forged" else other
    refuses(party, 0, MessageType.SIGNATURES, pack_signatures(signatures, 4), match)
    done, _ = client.step(party.sites[0], from_server(MessageType.SIGNATURES, party.policy.round_id, good))
    assert isinstance(done, client.Done)


def federation_copy(party, site):
    """The same site at the same point, in the hands of a server that tells it another story: only for its
    signature.
    """
    state = party.sites[site]
    return client.Masked(
        state.context, Secret(state.held_shares.peek()), state.sharers, state.graph, state.transcript_hash
    )


def test_for_each_site_one_kind_of_share_leaves():
    party = federation(4)
    state, outgoing = server.open_round(party.policy)
    for _ in range(2):
        state, outgoing = server.step(state, party.deliver(outgoing))
    pairs = {}
    replies = party.deliver(outgoing)
    for i in range(4):
        held = party.sites[i].held_shares.peek()
        pairs[i] = [
            (
                int.from_bytes(held[k * 66 : k * 66 + 33], "big"),
                int.from_bytes(held[k * 66 + 33 : k * 66 + 66], "big"),
            )
            for k in range(4)
        ]
    del replies[3]
    state, outgoing = server.step(state, replies)
    state, outgoing = server.step(state, party.deliver(outgoing))
    for i, reply in party.deliver(outgoing).items():
        told = parse_unmask(site_body(reply), (0, 1, 2, 3))
        assert [told[v] for v in range(4)] == [pairs[i][v][1] if v < 3 else pairs[i][v][0] for v in range(4)]


def test_no_step_is_taken_twice():
    party = federation(3)
    state, outgoing = server.open_round(party.policy)
    while isinstance(state, server.RoundInProgress):
        before = dict(party.sites)
        replies = party.deliver(outgoing)
        for i, old in before.items():
            with pytest.raises(ProtocolError, match="a step is taken once"):
                client.step(old, outgoing[i])
            with pytest.raises(ProtocolError):
                client.step(party.sites[i], outgoing[i])
        state, outgoing = server.step(state, replies)


@pytest.mark.parametrize("make", [lambda path: MemoryJournal(), FolderJournal])
def test_a_round_is_answered_once_per_id_whatever_state_asks(make, tmp_path):
    journal = make(tmp_path / "journal")
    party = federation(3)
    _, outgoing = party.run(client.Agreed)
    agreed = party.sites[0]
    held = bytes(agreed.held_shares.peek())
    site = replace(agreed.context, journal=journal)
    client.step(replace(agreed, context=site), outgoing[0])
    again = replace(agreed, context=site, held_shares=Secret(held))
    with pytest.raises(ProtocolError, match="answered once"):
        client.step(again, outgoing[0])
    with pytest.raises(ProtocolError, match="join a new round"):
        client.start_round(party.policy, party.identities[0], party.words[0], journal)


def test_a_journal_outlives_its_process(tmp_path):
    FolderJournal(tmp_path).claim_answer(b"r" * 16, bytes(32), b"cohort")
    assert FolderJournal(tmp_path).has_answered(b"r" * 16)
    assert not FolderJournal(tmp_path).has_answered(b"s" * 16)
    with pytest.raises(ProtocolError, match="answered once"):
        FolderJournal(tmp_path).claim_answer(b"r" * 16, bytes(32), b"cohort")


def test_no_answer_leaves_if_the_journal_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    party = federation(3)
    _, outgoing = party.run(client.Agreed)
    agreed = party.sites[0]
    held = agreed.held_shares.peek()
    with pytest.raises(StorageError, match="cannot write the journal"):
        client.step(
            replace(agreed, context=replace(agreed.context, journal=FolderJournal(tmp_path / "file"))),
            outgoing[0],
        )
    assert not any(held)


def test_a_journal_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    def forbidden(_path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(StorageError, match="cannot read the journal"):
        FolderJournal(tmp_path).has_answered(b"r" * 16)


def test_a_claim_is_synced_with_its_folder_and_the_folders_own_entry(tmp_path, monkeypatch):
    synced, sync = set(), os.fsync

    def noted(handle):
        synced.add(os.fstat(handle).st_ino)
        sync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    FolderJournal(tmp_path / "journal").claim_answer(b"r" * 16, bytes(32), b"cohort")
    assert synced == {
        path.stat().st_ino for path in (tmp_path, tmp_path / "journal", *(tmp_path / "journal").iterdir())
    }


def test_a_claim_that_stood_before_is_synced_as_well_since_its_writer_may_have_failed_to(
    tmp_path, monkeypatch
):
    """The note of a cohort whose sync failed is answered on by the next round: it must last before that
    answer leaves.
    """
    sync, synced = os.fsync, set()

    def failing(handle):
        raise OSError(28, "No space left on device")

    def noted(handle):
        synced.add(os.fstat(handle).st_ino)
        sync(handle)

    journal = FolderJournal(tmp_path)
    note = f"{bytes(32).hex()}.cohort"
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StorageError, match="No space left"):
        journal._write_once(note, b"cohort")
    assert (tmp_path / note).read_bytes() == b"cohort"
    monkeypatch.setattr(os, "fsync", noted)
    journal.claim_answer(b"s" * 16, bytes(32), b"cohort")
    assert (tmp_path / note).stat().st_ino in synced


def test_no_secret_shows_in_any_state_and_none_is_left_at_the_end():
    party = federation(3)
    state, outgoing = server.open_round(party.policy)
    while isinstance(state, server.RoundInProgress):
        one = party.sites[0]
        held = [
            value for name in one.__slots__ if isinstance(value := getattr(one, name), Secret | HeldVector)
        ]
        shown = repr(one) + repr(party.identities[0])
        for secret in (*held, party.identities[0].private):
            content = bytes(secret.peek())
            assert not any(
                spelled in shown
                for spelled in (repr(content)[2:-1], content.hex(), str(int.from_bytes(content, "big")))
            )
        replies = party.deliver(outgoing)
        state, outgoing = server.step(state, replies)
        for secret in held:
            with pytest.raises(ProtocolError, match="a step is taken once"):
                secret.peek()


def test_what_a_site_no_longer_needs_is_overwritten_before_its_vector_leaves():
    party = federation(3)
    _, outgoing = party.run(client.SharesSent)
    shared = party.sites[0]
    buffers = [
        getattr(shared, name).peek()
        for name in ("channel_seed", "channel_secrets", "mask_key", "self_mask_seed", "own_share")
    ]
    assert all(any(buffer) for buffer in buffers)
    client.step(shared, outgoing[0])
    assert not any(any(buffer) for buffer in buffers)
    # the vector is the site's own, which sends it again should the round come to nothing
    assert np.array_equal(party.words[0], federation(3).words[0])
    with pytest.raises(ProtocolError, match="a step is taken once"):
        shared.encoded.peek()


@pytest.mark.parametrize("is_bad", [False, True])
def test_every_channel_secret_that_is_read_is_overwritten_before_the_step_ends(is_bad, monkeypatch):
    party = federation(4)
    _, outgoing = party.run(client.SharesSent)
    shared, read, are_set = party.sites[0], [], []
    real = dealing.channel_key

    def watched(secret, transcript_hash, dealer, holder):
        read.append(secret)
        are_set.append(any(secret))
        key = real(secret, transcript_hash, dealer, holder)
        return bytes(len(key)) if is_bad and dealer == 2 else key

    monkeypatch.setattr(dealing, "channel_key", watched)
    after, _ = client.step(shared, outgoing[0])
    assert isinstance(after, client.Done if is_bad else client.Masked)
    assert (len(read), all(are_set)) == (2 if is_bad else 3, True)
    assert not any(any(secret) for secret in read)


def test_every_pair_of_shares_that_is_read_is_overwritten_before_the_answer_leaves(monkeypatch):
    party = federation(4)
    _, outgoing = party.run(client.Agreed)
    read, are_set = [], []

    def watched(data):
        read.append(data)
        are_set.append(any(data))
        return dealing.unpack_pair(data)

    monkeypatch.setattr(client_unmask, "unpack_pair", watched)
    client.step(party.sites[0], outgoing[0])
    assert (len(read), all(are_set)) == (4, True)
    assert not any(any(data) for data in read)


def test_loaded_channel_keys_are_let_go_when_the_shares_leave_and_never_shown():
    party = federation(3)
    _, outgoing = party.run(client.Joined)
    joined = party.sites[0]
    with pytest.raises(ProtocolError):
        client.step(joined, outgoing[0][:-1])
    keys = joined.channel_keys
    assert (set(keys.peek()), repr(keys)) == ({1, 2}, "LoadedKeys(hidden)")
    with pytest.raises(TypeError, match="not copied or pickled"):
        copy.copy(keys)
    client.step(joined, outgoing[0])
    assert repr(keys) == "LoadedKeys(erased)"
    with pytest.raises(ProtocolError, match="this step was taken before"):
        keys.peek()


def test_what_is_shown_of_shares_and_complaints_holds_no_secret():
    shown = repr(Complaint(1, b"private half"))
    assert "private half" not in shown


def test_a_secret_is_moved_not_copied():
    secret = Secret(b"abc")
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="not copied"):
            way(secret)
    buffer = secret.peek()
    secret.erase()
    assert buffer == bytearray(3)
    assert repr(secret) == "Secret(erased)"


@pytest.mark.parametrize("message", [None, "QSA3", 7, [b"QSA3"], np.zeros(40, np.uint8)])
@pytest.mark.parametrize(
    "state", [client.Ready, client.Joined, client.SharesSent, client.Masked, client.Agreed, client.Done]
)
def test_a_message_of_another_type_is_refused_and_changes_nothing(state, message):
    party = federation(3)
    _, outgoing = party.run(state)
    with pytest.raises(ProtocolError):
        client.step(party.sites[0], message)
    if state is not client.Done:
        client.step(party.sites[0], outgoing[0])


def test_a_site_of_wrong_types_is_refused_by_name():
    party = federation(3)
    policy, identity, words = party.policy, party.identities[0], party.words[0]
    with pytest.raises(SettingError, match="policy = None; expected a value of type Policy"):
        client.start_round(None, identity, words, MemoryJournal())
    with pytest.raises(SettingError, match="identity = 'site-0'; expected a value of type Identity"):
        client.start_round(policy, "site-0", words, MemoryJournal())
    with pytest.raises(ProtocolError, match=r"words of type list; expected \(3,\) of uint32"):
        client.start_round(policy, identity, words.tolist(), MemoryJournal())
    with pytest.raises(SettingError, match="journal = None; expected a value of type Journal"):
        client.start_round(policy, identity, words, None)
    with pytest.raises(SettingError, match="policy = None; expected a value of type Policy"):
        server.open_round(None)
    with pytest.raises(ProtocolError, match="this site is str and takes no further message"):
        client.step("ready", b"")


@pytest.mark.parametrize("drawn", [b"", bytes(31), bytes(40), bytearray(32), "0" * 32, None])
def test_a_source_of_entropy_that_gives_less_than_asked_for_makes_no_secret(drawn):
    with pytest.raises(SettingError, match="the source of entropy gave"):
        Identity.create("site", lambda size: drawn)
    for good in range(3):  # the mask key, the seed of the channel keys, the self-mask seed
        party = federation(3)
        source = iter([bytes([k + 1]) * 32 for k in range(good)])
        site = replace(party.sites[0].context, entropy=lambda size, source=source: next(source, drawn))
        party.sites[0] = replace(party.sites[0], context=site)
        with pytest.raises(SettingError, match="the source of entropy gave"):
            party.run(client.SharesSent)


def test_an_identity_whose_halves_do_not_belong_together_is_refused():
    one, other = (Identity.create(name, random.Random(name).randbytes) for name in ("one", "other"))
    with pytest.raises(ProtocolError, match="two halves of the identity of 'one' do not belong together"):
        replace(one, public=other.public)
    with pytest.raises(ProtocolError, match="do not belong together"):
        replace(one, private=Secret(bytes(31)))
    for change in ({"name": 1}, {"public": "key"}):
        with pytest.raises(SettingError, match=f"{next(iter(change))} = .*; expected"):
            replace(one, **change)
    with pytest.raises(SettingError, match="private is of type bytes; expected a Secret") as caught:
        replace(one, private=b"my own secret".ljust(32))
    assert "my own" not in str(caught.value)


def test_a_site_that_does_not_fit_its_roster_is_refused():
    party = federation(3)
    stranger = Identity.create("site-0", random.Random(5).randbytes)
    with pytest.raises(ProtocolError, match="another key for 'site-0'"):
        client.start_round(party.policy, stranger, party.words[0], MemoryJournal())
    with pytest.raises(SettingError, match="no site is called 'nobody'"):
        client.start_round(party.policy, replace(stranger, name="nobody"), party.words[0], MemoryJournal())
    for words in (party.words[0][:2], party.words[0].astype(np.int64)):
        with pytest.raises(ProtocolError, match="expected"):
            client.start_round(party.policy, party.identities[0], words, MemoryJournal())


@pytest.mark.parametrize(("n", "t", "corrupt"), [(3, 2, 1), (4, 2, 0), (5, 3, 1), (5, 6, 0), (5, 4, 3)])
def test_a_threshold_under_which_two_lists_could_win_is_refused(n, t, corrupt):
    with pytest.raises(SettingError, match="threshold"):
        federation(n, threshold=t, minimum=n, corrupt=corrupt)
    with pytest.raises(SettingError, match="max_corrupt = -1; expected how many sites"):
        federation(n, threshold=t, minimum=n, corrupt=-1)


@pytest.mark.parametrize(("n", "corrupt"), [(2, 1), (3, 2)])
def test_a_sum_that_corrupt_sites_could_take_apart_is_refused(n, corrupt):
    with pytest.raises(SettingError, match="expected at least two others"):
        federation(n, threshold=n, minimum=n, corrupt=corrupt)
    assert federation(n, threshold=n, minimum=n, corrupt=corrupt - 1).policy.max_corrupt == corrupt - 1


def test_the_default_threshold_stands_a_third():
    for n in range(2, 200):
        t = default_threshold(n)
        assert t <= n
        assert 2 * t > n + -(-n // 3) - 1


def test_rosters_and_policies_that_do_not_fit_are_refused():
    party = federation(3)
    roster = party.policy.roster
    for names, keys in (
        (roster.names[:2], roster.keys),
        (("a",), roster.keys[:1]),
        (("a", "a", "b"), roster.keys),
        (roster.names, (roster.keys[0],) * 3),
    ):
        with pytest.raises(SettingError):
            Roster(names, keys)
    with pytest.raises(SettingError, match=r"names = .*; expected a value of type tuple"):
        Roster(list(roster.names), roster.keys)
    for names, keys in ((("site-0", 1), roster.keys[:2]), (roster.names[:2], ("a" * 32, "b" * 32))):
        with pytest.raises(SettingError, match="expected a value of type"):
            Roster(names, keys)
    off_curve, above_field = (2).to_bytes(32, "little"), (2**255 - 19 + 3).to_bytes(32, "little")
    for key in (SMALL, b"short", off_curve, above_field):
        with pytest.raises(ProtocolError, match="signing key of 'site-0'"):
            Roster(roster.names, (key, *roster.keys[1:]))
    for change in (
        {"min_survivors": 2},
        {"min_survivors": 4},
        {"round_id": b"x"},
        {"model_hash": b"x"},
        {"encoding": Encoding(3, 1.0, 10, 4)},
    ):
        with pytest.raises(SettingError, match=r"expected|must be equal"):
            replace(party.policy, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"roster": ("site-0", "site-1")},
        {"round_id": "0" * 16},
        {"threshold": 3.0},
        {"threshold": True},
        {"min_survivors": None},
        {"min_survivors": "3"},
        {"encoding": 3},
        {"model_hash": list(range(32))},
        {"max_corrupt": 0.5},
        {"task": "train"},
    ],
)
def test_a_policy_of_wrong_types_is_refused_by_name(change):
    (name,) = change
    with pytest.raises(SettingError, match=f"{name} = .*; expected .*, not one of type"):
        replace(federation(3).policy, **change)


@pytest.mark.parametrize(
    ("change", "match"),
    [({"counter": -1}, "counter = -1"), ({"counter": 0.0}, "counter"), ({"recipe": None}, "recipe")],
)
def test_a_task_of_wrong_types_is_refused_by_name(change, match):
    with pytest.raises(SettingError, match=match):
        Task(**change)


def test_a_cohort_is_of_identities_whatever_their_places():
    policy = federation(4).policy
    names, keys = policy.roster.names, policy.roster.keys
    other = Identity.create("another")
    swapped = replace(policy, roster=Roster((*names[:3], "another"), (*keys[:3], other.public)))
    turned = replace(policy, roster=Roster(names[::-1], keys[::-1]))
    everyone = (0, 1, 2, 3)
    assert (
        client_unmask.cohort_hash(policy, everyone)
        == client_unmask.cohort_hash(turned, everyone)
        != client_unmask.cohort_hash(swapped, everyone)
    )
    assert (
        client_unmask.cohort_hash(policy, (0, 1, 2))
        == client_unmask.cohort_hash(turned, (1, 2, 3))
        == client_unmask.cohort_hash(swapped, (0, 1, 2))
    )


def test_the_three_secrets_of_a_site_are_drawn_apart():
    party = federation(4)
    party.run(until=client.SharesSent)
    for site in party.sites.values():
        assert (
            len({bytes(secret.peek()) for secret in (site.channel_seed, site.mask_key, site.self_mask_seed)})
            == 3
        )


def test_terms_of_equal_value_are_one_policy_however_they_are_typed():
    policy = federation(3).policy
    for clip in (1, np.float32(1)):
        assert replace(policy, encoding=replace(policy.encoding, clip_value=clip)).digest() == policy.digest()


def test_every_term_is_bound_into_the_transcript():
    policy = federation(6, threshold=5).policy
    changes = [change(policy) for change in OFFERS.values()] + [replace(policy, round_id=b"z" * 16)]
    assert len({p.digest() for p in (policy, *changes)}) == len(changes) + 1


def test_layouts_read_what_they_write():
    party = federation(4)
    _, outgoing = party.run(client.Agreed)
    signatures = parse_signatures(server_body(outgoing[0]), 4)
    assert pack_signatures(signatures, 4) == server_body(outgoing[0])
    assert parse_unmask(pack_unmask({0: 5, 2: 7}), (0, 2)) == {0: 5, 2: 7}
    members, dealt = (0, 1), HolderShares.parse(bytes(DEALT_BYTES))
    sealed = {i: DeliveredShares(dealt, bytes([i]) * 64, bytes(64)) for i in range(2)}
    assert parse_delivery(pack_delivery(sealed, members, 1, 4), 1, 4, 2) == (members, {0: sealed[0]})


def test_a_policy_is_a_value():
    party = federation(3)
    assert party.policy == replace(party.policy)
    assert isinstance(hash(party.policy), int)
    assert isinstance(party.policy, Policy)
    assert party.words[0].dtype == WORD_DTYPE
