"""The test of the masks: its false alarms, its power, and its alarm on the path that users run."""

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import MechanismError, SettingError
from quintain.core.statistics import binomial_tail
from quintain.federated import FederatedConfig, hidden, partition, require_hidden, secure_sum, simulate
from quintain.federated.secagg import client_keys, client_masked, client_shares, masks
from quintain.federated.secagg.encoding import WORD_DTYPE
from quintain.federated.secagg.secret import Secret
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
    plan = FederatedConfig(2, Recipe(epochs=1, batch_size=10_000, learning_rate=0.1, optimizer="sgd"))
    sites, rounds = partition(blobs(), 5, min_examples=10, min_per_class=1).sites, []

    def trained():
        simulate(
            sites,
            linear(),
            plan,
            dropouts={0: {"hospital-2": "masked"}},
            on_round=lambda facts, _: rounds.append(facts),
        )

    if reused:
        with pytest.raises(MechanismError, match="gives away the vector of 'hospital-2'"):
            trained()
        assert len(rounds) == 1
    else:
        trained()
        assert [facts.dropped for facts in rounds] == [("hospital-2",), ()]


def test_a_stream_that_starts_again_shows_in_a_vector_that_is_longer(monkeypatch):
    def wide():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return nn.Sequential(nn.Flatten(), nn.Linear(6, 4000), nn.Tanh(), nn.Linear(4000, 2))

    assert run(wide()) == [True]
    plant(monkeypatch, again)
    with pytest.raises(MechanismError, match="words of what is left repeat another"):
        run(wide())


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
    """The chance of the most telling sign, over its share of the false alarms."""
    return min(chance / share for _, chance, share in hidden._signs(left, np.inf))


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
    exact = [hidden._two_sided(ones, 45, np.inf) for ones in range(46)]
    assert [hidden._two_sided(ones, 45, level) < level for ones in range(46)] == [
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
        assert smallest(left) < hidden.FALSE_ALARM / 10  # as with two guesses at each of five sites


def test_four_words_of_ten_million_are_no_chance_and_one_is():
    assert binomial_tail(4, 10**7, 2.0**-32) < hidden.FALSE_ALARM / 2 / 10
    assert binomial_tail(2, 40_000, 2.0**-32) < hidden.FALSE_ALARM / 2 / 10
    assert binomial_tail(1, 100, 2.0**-32) > hidden.FALSE_ALARM


def test_earlier_rounds_may_come_without_their_vectors():
    given = {f"site-{i}": np.full(60, 0.1 * i) for i in range(4)}
    result = secure_sum(given, dropouts={"site-1": "late"})
    slim = result.server_view.without_vectors()
    assert slim.masked_vectors == {}
    assert (slim.shares, slim.keys, slim.transcript_hash) == (
        result.server_view.shares,
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
