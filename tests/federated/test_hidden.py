"""The test of the masks: its false alarms, its power, and its alarm on the path that users run."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import MechanismError, SettingError
from quintain.core.statistics import binomial_tail
from quintain.federated import (
    FederatedConfig,
    GroupedSum,
    RoundAbandonedError,
    SecureSum,
    attack_masks,
    hidden,
    partition,
    require_hidden,
    secure_sum,
    simulate,
    unmasking_attack,
)
from quintain.federated.secagg import client_keys, client_masked, client_shares, masks
from quintain.federated.secagg.client_states import RoundContext
from quintain.federated.secagg.encoding import WORD_DTYPE
from quintain.federated.secagg.messages import MessageType, from_server
from quintain.federated.secagg.primitives import SIGNATURE_BYTES
from quintain.federated.secagg.secret import Secret
from quintain.federated.secagg.shamir import SHARE_BYTES
from quintain.training import Recipe
from tests.federated.test_simulation import blobs, linear


def in_the_clear(share):
    """No mask on the first words of a vector."""

    def leak(stream):
        stream[: max(2, int(share * len(stream)))] = 0
        return stream

    return leak


def keep(bits):
    return lambda stream: stream & WORD_DTYPE.type(bits)


def one_word(stream):
    return np.full_like(stream, stream[0])


def again(stream):
    """A counter that starts anew in every chunk."""
    return np.resize(stream[: 2**15], len(stream))


LEAKS = {
    "no mask at all": in_the_clear(1.0),
    "half of the words in the clear": in_the_clear(0.49),
    "two words in the clear": in_the_clear(0),
    "masks on 15 low bits": keep(2**15 - 1),
    "masks on 27 low bits": keep(2**27 - 1),
    "masks on 17 high bits": keep(2**32 - 2**15),
    "the lowest bit in the clear": keep(2**32 - 2),
    "one word for all masks": one_word,
}


def plant(monkeypatch, leak):
    """Every mask, where it is put on and where it is taken off, goes through the leak: the sums stay
    exact.
    """
    whole = masks.add_stream

    def leaking(words, key, *, subtract=False):
        stream = np.zeros(len(words), WORD_DTYPE)
        whole(stream, key)
        fold = np.subtract if subtract else np.add
        fold(words, leak(stream), out=words)

    monkeypatch.setattr(masks, "add_stream", leaking)


def run(net, **drop):
    """A training at its default settings, and whether its sums were exact."""
    exact = []
    plan = FederatedConfig(1, Recipe(epochs=1, batch_size=10_000, learning_rate=0.1, optimizer="sgd"))
    sites = partition(blobs(), 5, min_examples=10, min_per_class=1).sites
    simulate(sites, net, plan, on_round=lambda facts, _: exact.append(facts.simulated.exact), **drop)
    return exact


EVERYBODY, LATE = {}, {"dropouts": {0: {"hospital-2": "late"}}}


@pytest.mark.parametrize("drop", [EVERYBODY, LATE], ids=["all", "late"])
def test_sound_masks_raise_no_alarm(drop):
    assert run(linear(), **drop) == [True]


@pytest.mark.parametrize("drop", [EVERYBODY, LATE], ids=["all", "late"])
@pytest.mark.parametrize("leak", list(LEAKS))
def test_each_planted_leak_stops_the_training_that_users_run(leak, drop, monkeypatch):
    plant(monkeypatch, LEAKS[leak])
    with pytest.raises(MechanismError, match="gives away the vector of 'hospital-"):
        run(linear(), **drop)


NOT_PUT_ON = {
    "the words as they are": lambda words, masked: words,
    "a constant mask": lambda words, masked: words + WORD_DTYPE.type(12345),
    "half of the words in the clear": lambda words, masked: np.where(
        np.arange(len(words)) % 2, words, masked
    ),
    "16 low bits in the clear": lambda words, masked: (
        (masked & WORD_DTYPE.type(2**32 - 2**16)) | (words & WORD_DTYPE.type(2**16 - 1))
    ),
}


@pytest.mark.parametrize("drop", [EVERYBODY, LATE], ids=["all", "late"])
@pytest.mark.parametrize("leak", list(NOT_PUT_ON))
def test_masks_that_one_site_never_put_on_stop_the_training_that_users_run(leak, drop, monkeypatch):
    """The server takes off what was never there: only the vector as it came shows it."""
    whole = client_masked.masks.mask_vector

    def leaking(words, private, seed, peers, link, site):
        masked = whole(words, private, seed, peers, link, site)
        return NOT_PUT_ON[leak](words, masked).astype(WORD_DTYPE) if site == 1 else masked

    monkeypatch.setattr(client_masked.masks, "mask_vector", leaking)
    with pytest.raises(MechanismError, match="gives away the vector of 'hospital-2'"):
        run(linear(), **drop)


@pytest.mark.parametrize("stage", ["masked", "late"])
def test_pairwise_masks_that_nobody_put_on_stop_the_training_also_where_a_site_is_silent(stage, monkeypatch):
    """Its pairwise masks can be derived and were never there: the self-mask alone must be removed."""
    monkeypatch.setattr(masks, "pair_streams", lambda *_args, **_settings: [])
    with pytest.raises(MechanismError, match="words come out right"):
        run(linear(), dropouts={0: {"hospital-4": stage}})


@pytest.mark.parametrize("kept", [{6}, {5, 6}, set()], ids=["one", "all silent", "none"])
@pytest.mark.parametrize("own", [True, False], ids=["with a self-mask", "without"])
def test_a_site_that_masks_with_some_silent_peers_alone_is_noticed(kept, own, monkeypatch):
    whole = masks.mask_vector

    def leaking(words, private, seed, peers, link, site):
        if site != 1:
            return whole(words, private, seed, peers, link, site)
        left = words.copy()
        if own:
            masks.add_self_mask(left, seed, link, site)
        masks.add_pair_masks(left, private, {peer: peers[peer] for peer in kept}, link, site)
        return left

    monkeypatch.setattr(client_masked.masks, "mask_vector", leaking)
    given = {f"site-{i}": np.full(60, 0.1 * i) for i in range(8)}
    with pytest.raises(RoundAbandonedError) as abandoned:
        secure_sum(given, dropouts={"site-5": "masked", "site-6": "masked"})
    view = abandoned.value.server_view
    truth = {name: view.policy.encoding.quantize(vector) for name, vector in given.items()}
    with pytest.raises(MechanismError, match="gives away the vector of 'site-1': 60 of 60 words"):
        require_hidden(view, truth)


def test_every_set_of_derivable_masks_is_removed_once():
    given = {f"site-{i}": np.full(60, 0.1 * i) for i in range(8)}
    view = secure_sum(given, dropouts={"site-5": "masked", "site-6": "late"}).server_view
    attacker = unmasking_attack.MaskAttacker(view)
    for name, num_own, num_pairs in [("site-1", 1, 2), ("site-6", 0, 7)]:
        whole, partial = attacker.sets_of_masks(name)
        assert [len(one) for one in whole] == sorted({0, num_own, num_pairs, num_own + num_pairs})
        sets = {frozenset(one) for one in whole + partial}
        assert len(sets) == len(whole) + len(partial)
        if name == "site-1":  # of two pairwise masks and a self-mask those are all sets
            assert len(sets) == 8
        assert all(len(one) in {1, 2, num_pairs - 1, num_pairs} for one in partial)


@pytest.mark.parametrize("drop", [EVERYBODY, LATE], ids=["all", "late"])
def test_a_self_mask_whose_seed_is_the_mask_key_stops_the_training_that_users_run(drop, monkeypatch):
    """Who is asked for the one has the other: each rebuilt secret is tried as whatever it may be."""
    fresh, keys = client_keys.new_private_key, []

    def noted(entropy):
        keys.append(fresh(entropy))
        return keys[-1]

    monkeypatch.setattr(client_keys, "new_private_key", noted)
    assert run(linear(), **drop) == [True]
    keys.clear()
    masks_of = (
        bytes(keys[k].peek()) for k in range(1, 10, 2)
    )  # in the order of sites, each of which draws channel, then mask
    monkeypatch.setattr(client_shares, "random_bytes", lambda *_: next(masks_of))
    with pytest.raises(MechanismError, match="words come out right"):
        run(linear(), **drop)


def check_two_rounds(dropouts, *, reused, dropped, num_sites=5, aggregation=None, **settings):
    """Train for two rounds, of which the second raises the alarm if it reuses a secret of the first."""
    recipe = Recipe(epochs=1, batch_size=10_000, learning_rate=0.1, optimizer="sgd")
    plan = FederatedConfig(2, recipe, **settings)
    sites, rounds = partition(blobs(), num_sites, min_examples=10, min_per_class=1).sites, []
    alarm = (
        pytest.raises(MechanismError, match="gives away the vector of 'hospital-2'")
        if reused
        else nullcontext()
    )
    with alarm:
        simulate(
            sites,
            linear(),
            plan,
            aggregation=aggregation or SecureSum(),
            dropouts=dropouts,
            on_round=lambda facts, _: rounds.append(facts),
        )
    assert [facts.dropped for facts in rounds] == (dropped[:1] if reused else dropped)


@pytest.mark.parametrize("reused", [False, True], ids=["fresh keys", "keys of the round before"])
def test_a_mask_key_that_an_earlier_round_revealed_stops_the_training_that_users_run(reused, monkeypatch):
    """Who fell silent in the first round is asked for its mask key by its peers; in the second it lays its
    vector open.
    """
    fresh, keys = client_keys.new_private_key, []

    def kept(entropy):
        key = fresh(entropy)
        place = len(keys) - 10  # five sites draw a channel key and a mask key each
        keys.append(bytes(key.peek()) if place < 0 or place % 2 == 0 or not reused else keys[place])
        return Secret(keys[-1])

    monkeypatch.setattr(client_keys, "new_private_key", kept)
    check_two_rounds({0: {"hospital-2": "masked"}}, reused=reused, dropped=[("hospital-2",), ()])


@pytest.mark.parametrize("reused", [False, True], ids=["fresh seeds", "seeds of the round before"])
@pytest.mark.parametrize(
    ("num_sites", "settings"),
    [(5, {}), (12, {"aggregation": GroupedSum(group_size=4), "threshold": 9, "min_survivors": 9})],
    ids=["one sum", "groups"],
)
def test_a_seed_that_a_round_of_all_sites_revealed_stops_the_training_that_users_run(
    num_sites, settings, reused, monkeypatch
):
    """The seeds of all survivors are opened; who is late in the next round has nothing but its seed."""
    fresh, seeds = client_shares.random_bytes, []

    def kept(*given):
        place = len(seeds) - num_sites
        seeds.append(seeds[place] if reused and place >= 0 else bytes(fresh(*given)))
        return seeds[-1]

    monkeypatch.setattr(client_shares, "random_bytes", kept)
    check_two_rounds(
        {1: {"hospital-2": "late"}},
        reused=reused,
        dropped=[(), ("hospital-2",)],
        num_sites=num_sites,
        **settings,
    )


@pytest.mark.parametrize("reused", [False, True], ids=["fresh seeds", "seeds of the round before"])
def test_seeds_with_one_public_key_are_told_apart(reused, monkeypatch):
    """X25519 clears the three lowest bits of a private key; each of these secrets is another seed."""
    drawn = []

    def alike(entropy, size):
        round_index, site = divmod(len(drawn), 5)
        drawn.append(bytes([8 + site]) + bytes([round_index * (not reused)]) * (size - 1))
        return drawn[-1]

    monkeypatch.setattr(client_shares, "random_bytes", alike)
    check_two_rounds({1: {"hospital-2": "late"}}, reused=reused, dropped=[(), ("hospital-2",)])


@pytest.mark.parametrize("reused", [False, True], ids=["fresh seeds", "seeds of another group"])
def test_a_seed_that_another_group_reveals_in_the_same_round_stops_the_training_that_users_run(
    reused, monkeypatch
):
    fresh, seeds = client_shares.random_bytes, []

    def kept(*given):
        again = reused and len(seeds) % 12 >= 4
        seeds.append(seeds[-4] if again else bytes(fresh(*given)))
        return seeds[-1]

    monkeypatch.setattr(client_shares, "random_bytes", kept)
    check_two_rounds(
        {1: {"hospital-2": "late"}},
        reused=reused,
        dropped=[(), ("hospital-2",)],
        num_sites=12,
        aggregation=GroupedSum(group_size=4),
        threshold=9,
        min_survivors=9,
    )


def test_a_stream_that_starts_again_shows_in_a_vector_that_is_longer(monkeypatch):
    def wide():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return nn.Sequential(nn.Flatten(), nn.Linear(6, 4000), nn.Tanh(), nn.Linear(4000, 2))

    assert run(wide()) == [True]
    plant(monkeypatch, again)
    with pytest.raises(MechanismError, match="words of what is left repeat another"):
        run(wide())


def sending(monkeypatch, kind, change):
    """Let the first site change the body of a message of this type, and sign what comes out."""
    true = RoundContext.reply

    def reply(self, message_type, body, transcript_hash, *, root=None):
        if message_type is kind and self.index == 0:
            body = change(bytes(body))
        return true(self, message_type, body, transcript_hash, root=root)

    monkeypatch.setattr(RoundContext, "reply", reply)


def false_shares(body):
    """Each share with its lowest bit the other way."""
    return bytes(
        byte ^ (1 if place % SHARE_BYTES == SHARE_BYTES - 1 else 0) for place, byte in enumerate(body)
    )


def test_a_site_that_reveals_false_shares_does_not_blind_the_attack(monkeypatch):
    """Without pair masks every self mask that is opened lays its vector open."""
    sending(monkeypatch, MessageType.UNMASK, false_shares)
    assert run(linear()) == [True]
    monkeypatch.setattr(masks, "pair_streams", lambda *_args, **_settings: [])
    with pytest.raises(MechanismError, match=r"gives away the vector of 'hospital-1'.* words come out right"):
        run(linear())


@pytest.mark.parametrize(
    "kind", [MessageType.KEYS, MessageType.SHARES, MessageType.MASKED, MessageType.UNMASK]
)
def test_a_malformed_message_of_one_site_leaves_the_sum_of_the_others(kind, monkeypatch):
    sending(monkeypatch, kind, lambda body: body[:-4])
    rounds = []
    simulate(
        partition(blobs(), 5, min_examples=10, min_per_class=1).sites,
        linear(),
        FederatedConfig(1, Recipe(epochs=1)),
        on_round=lambda facts, _: rounds.append(facts),
    )
    (only,) = rounds
    assert only.simulated.exact
    assert set(only.refused) == {"hospital-1"}
    assert only.dropped == (() if kind is MessageType.UNMASK else ("hospital-1",))


def test_a_vector_in_the_place_of_a_sites_keys_leaves_the_sum_of_the_others(monkeypatch):
    """It is signed and of the agreed length, and no mask of it can be derived."""
    true, rounds = RoundContext.reply, []

    def reply(self, message_type, body, transcript_hash, *, root=None):
        if message_type is MessageType.KEYS and self.index == 0:
            message_type, root = MessageType.MASKED, None
            body = np.random.default_rng(0).bytes(4 * self.policy.encoding.num_words)
        return true(self, message_type, body, transcript_hash, root=root)

    monkeypatch.setattr(RoundContext, "reply", reply)
    simulate(
        partition(blobs(), 5, min_examples=10, min_per_class=1).sites,
        linear(),
        FederatedConfig(1, Recipe(epochs=1)),
        on_round=lambda facts, _: rounds.append(facts),
    )
    assert [(one.simulated.exact, one.dropped) for one in rounds] == [(True, ("hospital-1",))]


def with_message(view, kind, change, *, first):
    """The view with another message of site-1 of this type, before its own or after all."""
    own = next(one for one in view.received if one.site == 1 and one.type is kind)
    another = replace(own, data=change(own.data))
    received = list(view.received)
    received.insert(received.index(own) if first else len(received), another)
    return replace(view, received=tuple(received))


@pytest.mark.parametrize("first", [True, False])
def test_every_vector_of_a_site_is_attacked(first):
    given = {f"site-{i}": np.full(60, 0.1 * i) for i in range(4)}
    result = secure_sum(given)
    words = {name: result.encoding.quantize(vector) for name, vector in given.items()}
    start = len(from_server(MessageType.OFFER, bytes(16), b""))

    def bare(data):
        return data[:start] + words["site-1"].tobytes() + data[-SIGNATURE_BYTES:]

    view = with_message(result.server_view, MessageType.MASKED, bare, first=first)
    assert [name for name, _ in view.all_masked_vectors].count("site-1") == 2
    assert view.num_masked_vectors == 4
    with pytest.raises(MechanismError, match="gives away the vector of 'site-1': 60 of 60 words"):
        require_hidden(view, words)
    # the very message twice is as hidden as once
    require_hidden(
        with_message(result.server_view, MessageType.MASKED, lambda data: data, first=first), words
    )


@pytest.mark.parametrize("kind", [MessageType.SHARES, MessageType.MASKED, MessageType.UNMASK])
@pytest.mark.parametrize("first", [True, False])
def test_malformed_messages_change_nothing_of_what_is_attacked(kind, first):
    given = {f"site-{i}": np.full(60, 0.1 * i) for i in range(4)}
    result = secure_sum(given, dropouts={"site-3": "late"})
    before = result.server_view
    after = with_message(before, kind, lambda data: data[:40] + data[-SIGNATURE_BYTES:], first=first)
    for attribute in ("revealed_shares", "commitments", "keys"):
        assert getattr(after, attribute) == getattr(before, attribute)
    for name, vector in before.masked_vectors.items():
        assert np.array_equal(after.masked_vectors[name], vector)
        assert (
            attack_masks(after, name).remaining_masks
            == attack_masks(before, name).remaining_masks
            == (("self",) if name == "site-3" else tuple(n for n in list(given)[:3] if n != name))
        )
    require_hidden(after, {name: result.encoding.quantize(vector) for name, vector in given.items()})


@pytest.mark.parametrize("first", [True, False])
def test_of_two_answers_of_a_site_the_true_shares_are_put_together(first):
    given = {f"site-{i}": np.full(60, 0.1 * i) for i in range(4)}
    result = secure_sum(given, dropouts={"site-3": "late"})
    start = len(from_server(MessageType.OFFER, bytes(16), b""))

    def false(data):
        return data[:start] + false_shares(data[start:-SIGNATURE_BYTES]) + data[-SIGNATURE_BYTES:]

    view = with_message(result.server_view, MessageType.UNMASK, false, first=first)
    for name in view.masked_vectors:
        guess, expected = attack_masks(view, name), attack_masks(result.server_view, name)
        assert guess.remaining_masks == expected.remaining_masks
        assert np.array_equal(guess.encoded, expected.encoded)


def test_an_abandoned_round_is_attacked_as_well(monkeypatch):
    plant(monkeypatch, LEAKS["no mask at all"])
    with pytest.raises(MechanismError, match="come out right"):
        simulate(
            partition(blobs(), 3, min_examples=10, min_per_class=1).sites,
            linear(),
            FederatedConfig(1, Recipe(epochs=1)),
            dropouts={0: {"hospital-1": "unmask"}},
        )


def smallest(left):
    """The chance of the most telling sign, over its part of the false alarms."""
    return min(chance / part for _, chance, part in hidden._signs(left, np.inf))


@pytest.mark.parametrize("size", [1, 3, 45, 300])
def test_false_alarms_come_no_more_often_than_stated(size):
    """At a level of 1 % in place of 1e-9, which no simulation reaches: the chances are exact, so the level
    only scales.
    """
    rng = np.random.default_rng(size)
    trials = 600
    alarms = sum(smallest(rng.integers(0, 2**32, size, dtype=np.uint32)) < 0.01 for _ in range(trials))
    assert alarms <= trials * 0.01 + 7 * np.sqrt(trials * 0.01)


def test_a_lower_bound_of_a_chance_decides_as_the_chance_does():
    """All counts of 45 fair bits, and of 200 repeats, at a level that some of them reach."""
    level = 1e-9
    exact = [hidden._two_sided_p_value(ones, 45, np.inf) for ones in range(46)]
    assert [hidden._two_sided_p_value(ones, 45, level) < level for ones in range(46)] == [
        one < level for one in exact
    ]
    exact = [hidden._at_least(count, 30.0, np.inf) for count in range(200)]
    assert [hidden._at_least(count, 30.0, level) < level for count in range(200)] == [
        one < level for one in exact
    ]
    assert min(exact) < level < max(exact)


def test_repeats_of_honest_words_are_expected():
    """Half a million words: 29 repeats are chance, and more than twice as many are not."""
    left = np.random.default_rng(0).integers(0, 2**32, 500_000, dtype=np.uint32)
    assert smallest(left) > 1e-6
    left[:80] = left[-80:]
    assert smallest(left) < hidden.FALSE_ALARM / 10


@pytest.mark.parametrize(
    ("size", "change"),
    [
        (1_000_000, lambda left, rng: left.__setitem__(slice(4), 0)),
        (45, lambda left, rng: left.__iand__(np.uint32(2**32 - 2))),
        (45, lambda left, rng: left.__setitem__(slice(None), left[0])),
        (2**15 + 10, lambda left, rng: left.__setitem__(slice(2**15, None), left[:10])),
        (4000, lambda left, rng: left.__ior__((rng.random(4000) < 0.2).astype(np.uint32) << np.uint32(9))),
    ],
    ids=["four words", "a low bit", "one word", "a stream again", "a bit at 0.6"],
)
def test_the_stated_power_is_there_at_the_stated_sizes(size, change):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        left = rng.integers(0, 2**32, size, dtype=np.uint32)
        change(left, rng)
        assert smallest(left) < hidden.FALSE_ALARM / 20  # as with four guesses at each of five sites


def test_four_words_of_ten_million_are_no_chance_and_one_is():
    assert binomial_tail(4, 10**7, 2.0**-32) < hidden.FALSE_ALARM / 2 / 20
    assert binomial_tail(2, 20_000, 2.0**-32) < hidden.FALSE_ALARM / 2 / 20
    assert binomial_tail(1, 100, 2.0**-32) > hidden.FALSE_ALARM


def test_earlier_rounds_may_come_without_their_vectors():
    given = {f"site-{i}": np.full(60, 0.1 * i) for i in range(4)}
    result = secure_sum(given, dropouts={"site-1": "late"})
    slim = result.server_view.without_vectors()
    assert slim.masked_vectors == {}
    assert (slim.revealed_shares, slim.keys, slim.transcript_hash) == (
        result.server_view.revealed_shares,
        result.server_view.keys,
        result.server_view.transcript_hash,
    )
    words = {name: result.encoding.quantize(vector) for name, vector in given.items()}
    require_hidden(result.server_view, words, earlier_views=[slim])
    with pytest.raises(SettingError, match="truth lacks site-3"):
        require_hidden(result.server_view, {name: words[name] for name in list(words)[:3]})


@pytest.mark.parametrize("spread", [1, 2**16 + 1], ids=["low words", "words far apart"])
@pytest.mark.parametrize("different", [1, 3, 1000, 2**16])
@pytest.mark.parametrize("count", [0, 1, 256, 257, 4001, 70_000])
def test_repeats_are_counted_exactly(count, different, spread):
    words = np.random.default_rng(count).integers(0, different, count, dtype=np.uint32) * np.uint32(spread)
    assert hidden._count_repeats(words) == count - len(set(words.tolist()))


def test_repeats_are_counted_exactly_where_all_words_want_one_place():
    words = np.arange(2**12, dtype=np.uint32) * np.uint32(pow(int(hidden._SPREAD), -1, 2**32))
    assert hidden._count_repeats(words) == 0
    assert hidden._count_repeats(np.concatenate([words, words, words[:5]])) == len(words) + 5


@pytest.mark.parametrize("count", [0, 1, 5, 1024, 1025, 4001, 70_000])
def test_set_bits_are_counted_exactly(count):
    words = np.random.default_rng(count).integers(0, 2**32, count, dtype=np.uint32)
    words[: count // 3] |= np.uint32(1 << 31)
    counted = [int(((words >> np.uint32(bit)) & 1).sum()) for bit in range(32)]
    assert hidden._ones_by_bit(words).tolist() == counted
