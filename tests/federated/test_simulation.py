import copy
import hashlib
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import (
    MechanismError,
    ModelError,
    ProtocolError,
    SabotageError,
    SettingError,
    StorageError,
)
from quintain.data.dataset import from_arrays
from quintain.federated import FederatedConfig, partition, simulate, simulation
from quintain.federated import client as client_program
from quintain.federated.differencing import cosine
from quintain.federated.secagg import client, client_masked, client_shares
from quintain.federated.secagg.journal import MemoryJournal
from quintain.federated.secagg_sum import SecureSum
from quintain.federated.server import Server
from quintain.training import Recipe, fit
from tests.federated.settings import blobs, linear, weights

ONE_STEP = Recipe(epochs=1, batch_size=10_000, learning_rate=0.5, optimizer="sgd", schedule="constant")


def sizes(sites):
    """Public weights: the numbers of examples."""
    return {name: len(data) for name, data in sites.items()}


def accuracy(net, data):
    x, y = data.batch(np.arange(len(data)))
    with torch.no_grad():
        return (net(x).argmax(1) == y).float().mean().item()


def test_one_full_batch_step_is_the_pooled_step():
    data = blobs()
    sites = partition(data, 4, alpha=10.0, min_examples=10, min_per_class=1).sites
    assert len(set(sizes(sites).values())) > 1
    pooled, federated = linear(), linear()
    fit(pooled, data, ONE_STEP)
    result = simulate(
        sites, federated, FederatedConfig(1, ONE_STEP, weights=sizes(sites), min_survivors=4, max_corrupt=0)
    )
    assert (weights(pooled) - weights(linear())).abs().max() > 1e-2
    assert (weights(pooled) - weights(federated)).abs().max() < 1e-6
    assert result.rounds[0].weight == len(data)


def test_without_weights_every_site_counts_alike():
    sites = partition(blobs(), 4, alpha=None).sites
    federated, alone = linear(), []
    for data in sites.values():
        alone.append(linear())
        fit(alone[-1], data, ONE_STEP)
    result = simulate(sites, federated, FederatedConfig(1, ONE_STEP))
    mean = torch.stack([weights(net) for net in alone]).mean(0)
    assert (mean - weights(federated)).abs().max() < 1e-6
    assert result.rounds[0].weight == 4


def test_a_round_without_one_site_is_the_pooled_step_of_the_others():
    data = blobs()
    sites = partition(data, 4, alpha=10.0, min_examples=10, min_per_class=1).sites
    federated, pooled = linear(), linear()
    plan = FederatedConfig(1, ONE_STEP, weights=sizes(sites), max_corrupt=0)
    result = simulate(sites, federated, plan, dropouts={0: {"hospital-2": "masked"}})
    left = [name for name in sites if name != "hospital-2"]
    x, y = (
        torch.cat(parts).numpy()
        for parts in zip(*(sites[n].batch(np.arange(len(sites[n]))) for n in left), strict=True)
    )
    fit(pooled, from_arrays(x, y, num_classes=2), ONE_STEP)
    assert (weights(pooled) - weights(federated)).abs().max() < 1e-6
    assert result.rounds[0].survivors == tuple(left)
    assert result.rounds[0].dropped == ("hospital-2",)


def test_rounds_learn_and_their_facts_are_told():
    data = blobs()
    net, told = linear(), []
    before = accuracy(net, data)
    drop = {1: {"hospital-3": "masked"}, 2: {"hospital-1": "late"}}
    sites = partition(data, 5, alpha=20.0, min_examples=10, min_per_class=1).sites
    plan = FederatedConfig(4, Recipe(epochs=10, batch_size=32, learning_rate=0.02), weights=sizes(sites))
    result = simulate(
        sites, net, plan, seed=3, dropouts=drop, on_round=lambda facts, summed: told.append((facts, summed))
    )
    assert accuracy(net, data) > max(0.75, before)
    assert [facts for facts, _ in told] == list(result.rounds)
    assert all(facts.simulated.exact for facts in result.rounds)
    assert [facts.dropped for facts in result.rounds] == [(), ("hospital-3",), ("hospital-1",), ()]
    assert [facts.masked_vectors for facts in result.rounds] == [5, 4, 5, 5]
    assert result.rounds[1].weight == len(data) - len(sites["hospital-3"])
    assert result.rounds[0].bytes_uploaded["hospital-1"] > 4 * result.encoding.num_words
    assert all(facts.simulated.num_clipped == dict.fromkeys(sites, 0) for facts in result.rounds)
    assert len({summed.server_view.policy.round_id for _, summed in told}) == 4
    assert len({summed.server_view.policy.model_hash for _, summed in told}) == 4
    assert (result.num_sites, result.threshold) == (5, 4)
    assert not net.training


def test_the_seed_decides_the_model_and_the_masks_do_not():
    sites = partition(blobs(), 3, min_examples=10, min_per_class=1).sites
    plan = FederatedConfig(2, Recipe(epochs=1, batch_size=32))
    nets = [linear() for _ in range(3)]
    for net, seed in zip(nets, (1, 1, 2), strict=True):
        simulate(sites, net, plan, seed=seed)
    assert torch.equal(weights(nets[0]), weights(nets[1]))
    assert not torch.equal(weights(nets[0]), weights(nets[2]))


def test_an_abandoned_round_changes_nothing_and_the_next_goes_on():
    sites = partition(blobs(), 3, min_examples=10, min_per_class=1).sites
    plan = FederatedConfig(2, ONE_STEP)
    net, hashes = linear(), []
    start = weights(net)

    def note(facts, summed):
        hashes.append(torch.equal(weights(net), start))
        assert (summed is None) == bool(facts.abort_reason)

    result = simulate(sites, net, plan, dropouts={0: {"hospital-1": "unmask"}}, on_round=note)
    assert hashes == [True, False]
    assert "2 of 3 sites unmasked; 3 are needed" in result.rounds[0].abort_reason
    assert result.rounds[0].survivors == ()
    with pytest.raises(ProtocolError, match="all 1 rounds were abandoned"):
        simulate(sites, net, FederatedConfig(1, ONE_STEP), dropouts={0: {"hospital-1": "masked"}})


def test_a_round_after_an_abandoned_one_sends_the_updates_that_were_trained_for_it(monkeypatch):
    sites = partition(blobs(), 3, min_examples=10, min_per_class=1).sites
    sent, start = [], client.start_round

    def noted(policy, identity, words, journal, **kwargs):
        sent.append((policy.task.counter, identity.name, words.tobytes()))
        return start(policy, identity, words, journal, **kwargs)

    monkeypatch.setattr(client, "start_round", noted)
    plan = FederatedConfig(3, Recipe(epochs=1, batch_size=32))
    result = simulate(sites, linear(), plan, dropouts={0: {"hospital-1": "unmask"}})
    assert [bool(one.abort_reason) for one in result.rounds] == [True, False, False]
    first, second, third = ({entry[1:] for entry in sent if entry[0] == counter} for counter in range(3))
    assert first == second
    assert first.isdisjoint(third)


def test_an_update_beyond_the_clip_is_cut_and_counted():
    sites = partition(blobs(), 3, min_examples=10, min_per_class=1).sites
    net = linear()
    before = weights(net)
    result = simulate(sites, net, FederatedConfig(1, ONE_STEP, clip_value=1e-3))
    assert all(count > 0 for count in result.rounds[0].simulated.num_clipped.values())
    assert (weights(net) - before).abs().max() <= 1e-3 * (1 + 1e-4)


# -- one site's trouble is its own
# -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Faulty:
    """A loss that is NaN at the sites whose first feature is 1 throughout."""

    def __call__(self, net, x, y, context):
        return nn.functional.cross_entropy(net(x), y) * (float("nan") if (x[:, 0] == 1).all() else 1.0)


def marked(data):
    """The same data, for ``Faulty`` to know."""
    x, y = (part.numpy() for part in data.batch(np.arange(len(data))))
    x[:, 0] = 1
    return from_arrays(x, y, num_classes=2)


def test_the_nan_of_one_site_is_its_dropout_and_that_of_all_is_the_end():
    sites = dict(partition(blobs(), 5, min_examples=10, min_per_class=1).sites)
    sites["hospital-2"] = marked(sites["hospital-2"])
    net = linear()
    result = simulate(sites, net, FederatedConfig(2, ONE_STEP), objective=Faulty())
    for facts in result.rounds:
        assert facts.dropped == ("hospital-2",)
        assert facts.simulated.exact
        assert "the loss is nan" in facts.simulated.left["hospital-2"]
        assert "hospital-2" not in facts.simulated.losses
        assert facts.refused == {}
    assert weights(net).isfinite().all()
    with pytest.raises(ModelError, match="the loss is nan"):
        simulate(
            {name: marked(data) for name, data in sites.items()},
            linear(),
            FederatedConfig(2, ONE_STEP),
            objective=Faulty(),
        )


FAILURES = [
    StorageError("full"),
    OSError(28, "No space left on device"),
    MemoryError(),
    RuntimeError("CUDA error"),
    IndexError("label 9"),
]


@pytest.mark.parametrize("error", [*FAILURES, ValueError("a batch of one"), ZeroDivisionError()])
def test_whatever_ends_the_training_of_one_site_is_its_dropout(error, monkeypatch):
    train_one = client_program.local_update

    def failing(net, data, *args, **kwargs):
        if data.name.endswith("hospital-3"):
            raise error
        return train_one(net, data, *args, **kwargs)

    monkeypatch.setattr(client_program, "local_update", failing)
    result = simulate(
        partition(blobs(), 5, min_examples=10, min_per_class=1).sites, linear(), FederatedConfig(1, ONE_STEP)
    )
    assert result.rounds[0].dropped == ("hospital-3",)
    assert result.rounds[0].simulated.left["hospital-3"]


@pytest.mark.parametrize("error", [SettingError("no such rate"), MechanismError("noise")])
def test_an_alarm_or_a_wrong_setting_is_no_dropout(error, monkeypatch):
    def failing(net, data, *args, **kwargs):
        raise error

    monkeypatch.setattr(client_program, "local_update", failing)
    with pytest.raises(type(error)):
        simulate(
            partition(blobs(), 3, min_examples=10, min_per_class=1).sites,
            linear(),
            FederatedConfig(1, ONE_STEP),
        )


class FullJournal(MemoryJournal):
    """A journal on a full disk."""

    def _write_once(self, name, content):
        raise StorageError("cannot write the journal: no space left")


def test_a_journal_on_a_full_disk_is_a_dropout_at_the_masked_vector(monkeypatch):
    journals = iter([MemoryJournal(), FullJournal(), *(MemoryJournal() for _ in range(3))])
    monkeypatch.setattr(simulation, "MemoryJournal", lambda: next(journals))
    result = simulate(
        partition(blobs(), 5, min_examples=10, min_per_class=1).sites, linear(), FederatedConfig(2, ONE_STEP)
    )
    for facts in result.rounds:
        assert facts.dropped == ("hospital-2",)
        assert facts.masked_vectors == 4
        assert "cannot write the journal" in facts.simulated.left["hospital-2"]


def test_a_site_that_lies_beyond_its_bound_abandons_the_round_and_moves_no_model(monkeypatch):
    """In grid steps, through ``train``: a word of 2^30 from one of five made the mean 8178 at clip 1.0,
    marked as exact.
    """
    sites = partition(blobs(), 5, min_examples=10, min_per_class=1).sites
    ready = client.start_round
    lie = {"hospital-4": 2**30}

    def lying(policy, identity, words, journal, **kwargs):
        sent = words.copy()
        sent[:1] += np.uint32(lie.get(identity.name, 0))
        return ready(policy, identity, sent, journal, **kwargs)

    monkeypatch.setattr(client, "start_round", lying)
    net = linear()
    before = weights(net)
    plan = FederatedConfig(1, ONE_STEP, scale=1000)
    with pytest.raises(ProtocolError, match=r"entry 0 of the sum .* a site lied about its vector"):
        simulate(sites, net, plan)
    assert torch.equal(weights(net), before)

    # Within the clip of all sites but beyond what the public weights allow: the survivors' own bound refuses
    # it.
    uneven = replace(
        plan, min_survivors=5, weights={name: 8 if name == "hospital-1" else 5 for name in sites}
    )
    for entry in (4200, 2**32 - 4200):  # upwards, and downwards
        lie["hospital-4"] = entry
        assert (
            not simulate(sites, linear(), plan).rounds[0].simulated.exact
        )  # equal weights allow it: the clip bounds what a lie can do
        with pytest.raises(ProtocolError, match="as clip and public weights allow"):
            simulate(sites, linear(), uneven)


# -- what rounds tell together
# -----------------------------------------------------------------------------------------------------------


def test_a_second_cohort_over_one_model_is_refused_until_the_first_is_back():
    """Round 0 is answered by three and called abandoned; the same model is then asked of others, and of the
    same again.
    """
    data = partition(blobs(), 5, min_examples=10, min_per_class=1).sites
    sites = {**data, "hospital-5": marked(data["hospital-5"])}
    plan, net = FederatedConfig(3, ONE_STEP), linear()
    faulty = Sometimes(rounds=(0,))
    start, same = weights(net), []
    drop = {0: {"hospital-1": "unmask"}, 1: {"hospital-2": "keys"}, 2: {"hospital-5": "keys"}}
    result = simulate(
        sites,
        net,
        plan,
        dropouts=drop,
        objective=faulty,
        on_round=lambda *_: same.append(torch.equal(weights(net), start)),
    )
    assert "3 of 5 sites unmasked" in result.rounds[0].abort_reason
    assert "sites signed the survivors" in result.rounds[1].abort_reason
    assert (
        "hospital-3" not in result.rounds[1].abort_reason
    )  # why a site left is its own: the server sees it go silent
    assert "has helped to open the sum of other survivors" in result.rounds[1].simulated.left["hospital-3"]
    assert result.rounds[2].survivors == ("hospital-1", "hospital-2", "hospital-3", "hospital-4")
    assert same == [True, True, False]


class Sometimes(Faulty):
    """``Faulty`` in some rounds only; it is called once a site and round here."""

    def __init__(self, rounds):
        object.__setattr__(self, "calls", [])
        object.__setattr__(self, "rounds", rounds)

    def __call__(self, net, x, y, context):
        bad = (x[:, 0] == 1).all() and len(self.calls) // 5 in self.rounds
        self.calls.append(len(x))
        return nn.functional.cross_entropy(net(x), y) * (float("nan") if bad else 1.0)


def test_neighbouring_sums_over_models_that_hardly_move_still_tell_and_it_is_measured():
    """What is left: full-batch descent at a small step, one dropout; the server's subtraction comes within
    0.99 of the update.
    """
    sites, sums = partition(blobs(), 5, min_examples=10, min_per_class=1).sites, []
    recipe = Recipe(epochs=1, batch_size=10_000, learning_rate=0.05, optimizer="sgd", schedule="constant")
    drop = {1: {"hospital-3": "masked"}}
    result = simulate(
        sites,
        linear(),
        FederatedConfig(3, recipe),
        dropouts=drop,
        on_round=lambda _, summed: sums.append(summed),
    )
    assert [list(facts.simulated.exposed) for facts in result.rounds] == [[], ["hospital-3"], ["hospital-3"]]
    assert all(facts.simulated.exposed["hospital-3"] > 0.99 for facts in result.rounds[1:])

    lone = linear()
    fit(lone, sites["hospital-3"], recipe)
    guess = sums[0].total - sums[1].total
    assert cosine(guess, (weights(lone) - weights(linear())).double().numpy()) > 0.99
    # The weights travel nowhere: there is no slot to subtract.
    assert sums[0].weight == sums[1].weight == 0
    assert len(sums[0].integers) == len(weights(lone))


def test_a_sum_that_the_server_had_before_it_abandoned_the_round_is_subtracted_too(monkeypatch):
    """It is beyond what the public weights allow: it moves no model, and the server has read it."""
    check = Server._check

    def refuse_second(server, found):
        if len(server.state.reports) == 1:
            raise ProtocolError("beyond the weights")
        check(server, found)

    monkeypatch.setattr(Server, "_check", refuse_second)
    sites = partition(blobs(), 5, min_examples=10, min_per_class=1).sites
    drop = {1: {"hospital-3": "masked"}}
    result = simulate(sites, linear(), FederatedConfig(2, ONE_STEP), dropouts=drop)
    assert [facts.abort_reason for facts in result.rounds] == ["", "beyond the weights"]
    assert [list(facts.simulated.exposed) for facts in result.rounds] == [[], ["hospital-3"]]


def test_a_minimum_of_all_sites_opens_one_cohort_only():
    sites = partition(blobs(), 5, min_examples=10, min_per_class=1).sites
    drop = {1: {"hospital-3": "masked"}}
    result = simulate(sites, linear(), FederatedConfig(3, ONE_STEP, min_survivors=5), dropouts=drop)
    assert [facts.survivors for facts in result.rounds] == [tuple(sites), (), tuple(sites)]
    assert all(facts.simulated.exposed == {} for facts in result.rounds)


def test_what_only_a_simulation_knows_stands_apart():
    result = simulate(
        partition(blobs(), 3, min_examples=10, min_per_class=1).sites, linear(), FederatedConfig(1, ONE_STEP)
    )
    known = {
        "index",
        "survivors",
        "dropped",
        "weight",
        "masked_vectors",
        "bytes_uploaded",
        "seconds",
        "refused",
        "accused",
        "abort_reason",
    }
    assert {field.name for field in fields(result.rounds[0])} == {*known, "simulated"}
    assert {field.name for field in fields(result.rounds[0].simulated)} == {
        "exact",
        "losses",
        "num_clipped",
        "left",
        "exposed",
    }
    assert all(loss > 0 for loss in result.rounds[0].simulated.losses.values())


def test_who_is_proven_to_cheat_stands_in_the_facts(monkeypatch):
    sites = partition(blobs(), 5, min_examples=10, min_per_class=1).sites
    honest = SecureSum.sum

    def accusing(self, policy, transport):
        found = honest(self, policy, transport)
        if policy.task.counter:
            raise SabotageError("sabotage", ("hospital-3",))
        return replace(found, accused=("hospital-2",))

    monkeypatch.setattr(SecureSum, "sum", accusing)
    result = simulate(sites, linear(), FederatedConfig(2, ONE_STEP))
    assert [facts.accused for facts in result.rounds] == [("hospital-2",), ("hospital-3",)]
    assert result.rounds[1].abort_reason == "sabotage"


def complaining(monkeypatch, cheat, rounds=(0,)):
    """Let a site complain of a good share in these rounds."""
    true = client_masked._open_pair

    def opened(state, dealer, secret, dealt):
        if state.context.identity.name == cheat and state.context.policy.task.counter in rounds:
            raise ProtocolError("a false complaint")
        return true(state, dealer, secret, dealt)

    monkeypatch.setattr(client_masked, "_open_pair", opened)


def test_a_proven_cheat_is_left_out_of_all_later_rounds(monkeypatch):
    sites = partition(blobs(), 5, min_examples=10, min_per_class=1).sites
    complaining(monkeypatch, "hospital-2")
    result = simulate(sites, linear(), FederatedConfig(3, ONE_STEP))
    assert [facts.accused for facts in result.rounds] == [("hospital-2",), (), ()]
    for facts in result.rounds:
        assert facts.dropped == ("hospital-2",)
        assert facts.simulated.exact
    for facts in result.rounds[1:]:
        assert "proven to have cheated in round 0" in facts.refused["hospital-2"]
        assert "hospital-2" not in facts.simulated.losses
        assert "hospital-2" not in facts.simulated.left
    # With a minimum of all sites there is no round without it, and none with it.
    with pytest.raises(
        SabotageError, match=r"all 2 rounds were abandoned.*hospital-2: it is proven to have cheated"
    ) as caught:
        simulate(sites, linear(), FederatedConfig(2, ONE_STEP, min_survivors=5))
    assert caught.value.accused == ("hospital-2",)


def test_a_dealer_that_is_proven_at_unmasking_gets_no_second_chance(monkeypatch):
    """The others have answered by then: they open no sum without it over this model, and train on with it in
    none.
    """
    sites = partition(blobs(), 5, min_examples=10, min_per_class=1).sites
    true = client_shares.make_shares

    def off(secret, threshold, points, entropy):
        shares = true(secret, threshold, points, entropy)
        called.append(shares)
        return (
            {**shares, 1: shares[1] ^ 1} if len(called) in (7, 8) else shares
        )  # the fourth site's, in the first round

    called = []
    monkeypatch.setattr(client_shares, "make_shares", off)
    told = []
    with pytest.raises(SabotageError, match="all 3 rounds were abandoned") as caught:
        simulate(sites, linear(), FederatedConfig(3, ONE_STEP), on_round=lambda facts, _: told.append(facts))
    assert caught.value.accused == ("hospital-4",)
    assert [facts.accused for facts in told] == [("hospital-4",), (), ()]
    assert all("hospital-4" in facts.refused for facts in told[1:])
    assert "has helped to open the sum of other survivors" in told[1].simulated.left["hospital-1"]


def test_the_terms_of_a_round_name_recipe_objective_data_and_counter():
    seen = []
    plan = FederatedConfig(2, ONE_STEP)
    sites = partition(blobs(), 3, min_examples=10, min_per_class=1).sites
    simulate(sites, linear(), plan, on_round=lambda _, summed: seen.append(summed.server_view.policy.task))
    assert [task.counter for task in seen] == [0, 1]
    assert len({replace(task, counter=0) for task in seen}) == 1
    assert repr(ONE_STEP) in seen[0].recipe
    assert seen[0].weights == (1, 1, 1)
    assert seen[0].objective == "CleanCrossEntropy()"
    assert seen[0].data == "samples of shape (6,) in [0, 1]"
    assert len(seen[0].federation) == 64


def test_running_statistics_are_refused_by_name():
    net = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
    with pytest.raises(ModelError, match=r"the buffer '1.running_mean'.*GroupNorm"):
        simulate(partition(blobs(), 3).sites, net, FederatedConfig(1, ONE_STEP))


def test_frozen_weights_stay_and_are_not_sent():
    net = linear()
    net[1].requires_grad_(False)
    kept = copy.deepcopy(net[1].state_dict())
    result = simulate(partition(blobs(), 3).sites, net, FederatedConfig(1, ONE_STEP))
    assert result.encoding.length == 8 * 2 + 2
    assert all(torch.equal(kept[name], value) for name, value in net[1].state_dict().items())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"clip_value": 1e-17}, r"clip_value = 1e-17; expected about 6e-17 to 5e\+08 for 4 sites"),
        ({"clip_value": 1e9}, r"clip_value = 1e\+09; expected about 6e-17 to 5e\+08 for 4 sites"),
        (
            {"max_corrupt": -1},
            "max_corrupt = -1; expected how many sites may side with the server, 0 or more",
        ),
        (
            {"max_corrupt": 3},
            "max_corrupt = 3 of 4 sites may side with the server; expected at least two others",
        ),
        ({"max_corrupt": 2}, "threshold = 3 of 4 sites, 2 of which .* expected 4 to 4"),
    ],
)
def test_a_setting_that_cannot_hold_is_refused_by_its_own_name(change, match):
    with pytest.raises(SettingError, match=match):
        simulate(
            partition(blobs(), 4, min_examples=10, min_per_class=1).sites,
            linear(),
            FederatedConfig(1, ONE_STEP, **change),
        )


def test_a_net_that_cannot_be_trained_is_refused_before_any_training():
    sites = partition(blobs(), 3, min_examples=10, min_per_class=1).sites
    with pytest.raises(ModelError, match=r"Sequential has no trainable parameters; .* set requires_grad"):
        simulate(sites, linear().requires_grad_(False), FederatedConfig(1, ONE_STEP))
    with pytest.raises(ModelError, match=r"'1.weight' is torch.float16; .* call float\(\)"):
        simulate(sites, linear().half(), FederatedConfig(1, ONE_STEP))


@pytest.mark.parametrize(
    ("drop", "match"),
    [
        ({0: {"nobody": "masked"}}, "dropouts names 'nobody'"),
        ({5: {"hospital-1": "masked"}}, "in rounds 0 to 0"),
    ],
)
def test_a_drop_that_cannot_be_is_refused(drop, match):
    with pytest.raises(SettingError, match=match):
        simulate(partition(blobs(), 3).sites, linear(), FederatedConfig(1, ONE_STEP), dropouts=drop)


def test_plans_and_federations_that_cannot_be_are_refused():
    with pytest.raises(SettingError, match="rounds = 0"):
        FederatedConfig(0, ONE_STEP)
    with pytest.raises(SettingError, match="at least two"):
        simulate({"alone": blobs()}, linear(), FederatedConfig(1, ONE_STEP))
    for odd in ({"hospital-1": 1}, dict.fromkeys(["hospital-1", "hospital-2", "hospital-9"], 1)):
        with pytest.raises(SettingError, match="weights does not fit"):
            simulate(partition(blobs(), 3).sites, linear(), FederatedConfig(1, ONE_STEP, weights=odd))
    wide = from_arrays(np.zeros((20, 7), np.float32), [0, 1] * 10)
    with pytest.raises(SettingError, match="expected one shape"):
        simulate({"a": blobs(), "b": wide, "c": blobs()}, linear(), FederatedConfig(1, ONE_STEP))


@pytest.mark.parametrize(
    "settings",
    [
        {"rounds": 2.0},
        {"rounds": True},
        {"local_recipe": {"epochs": 1}},
        {"threshold": "4"},
        {"max_corrupt": None},
        {"scale": 1.5},
        {"weights": [1, 2]},
        {"weights": {"a": 0.5}},
        {"weights": {"a": 0}},
    ],
)
def test_plans_of_a_wrong_type_are_refused_by_name(settings):
    with pytest.raises(SettingError, match=f"{next(iter(settings))}|weight of 'a'"):
        FederatedConfig(**{"rounds": 1, "local_recipe": ONE_STEP, **settings})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"sites": [blobs(), blobs()]}, "sites = "),
        ({"sites": {"a": 1, "b": 2}}, "the data of 'a' = 1"),
        ({"sites": {1: blobs(), 2: blobs()}}, "the name of a site = 1"),
        ({"net": "cnn"}, "net = 'cnn'"),
        ({"plan": 3}, "config = 3"),
        ({"seed": "1"}, "seed = '1'"),
        ({"objective": "ce"}, "objective = 'ce'"),
        ({"dropouts": [(0, "a")]}, "dropouts = "),
        ({"dropouts": {0: "hospital-1"}}, "a stage for each site"),
        ({"dropouts": {"0": {"hospital-1": "masked"}}}, "in rounds 0 to 0"),
    ],
)
def test_arguments_of_a_wrong_type_are_refused_by_name(change, match):
    arguments = {
        "sites": partition(blobs(), 3).sites,
        "net": linear(),
        "plan": FederatedConfig(1, ONE_STEP),
        **change,
    }
    sites, net, plan = (arguments.pop(name) for name in ("sites", "net", "plan"))
    with pytest.raises(SettingError, match=match):
        simulate(sites, net, plan, **arguments)


def test_the_model_hash_covers_names_values_and_buffers():
    from quintain.federated.model_bytes import model_digest

    net = linear()
    changed = copy.deepcopy(net)
    with torch.no_grad():
        changed[1].bias[0] += 1e-6
    buffered = copy.deepcopy(net)
    buffered.register_buffer("mean", torch.zeros(1))
    assert model_digest(net) == model_digest(copy.deepcopy(net))
    assert len({model_digest(net), model_digest(changed), model_digest(buffered)}) == 3
    assert len(model_digest(net)) == hashlib.sha256().digest_size


def test_the_model_hash_covers_shapes_and_buffers_that_are_not_saved():
    from quintain.federated.model_bytes import model_digest

    wide, tall = nn.Linear(3, 2, bias=False), nn.Linear(2, 3, bias=False)
    with torch.no_grad():
        tall.weight.copy_(wide.weight.reshape(3, 2))
    assert model_digest(wide) != model_digest(tall)
    for net, kind in ((wide, torch.float32), (tall, torch.int32)):
        net.weight = None
        net.register_buffer("steps", torch.zeros(3, dtype=kind))
    assert model_digest(wide) != model_digest(tall)

    first, second = (nn.Linear(2, 2, bias=False) for _ in range(2))
    second.load_state_dict(first.state_dict())
    assert model_digest(first) == model_digest(second)
    for net, value in ((first, 0.0), (second, 1.0)):
        net.register_buffer("offset", torch.full((2,), value), persistent=False)
    assert model_digest(first) != model_digest(second)
