import copy
import hashlib

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import ModelError, ProtocolError, SettingError
from quintain.data.dataset import from_arrays
from quintain.federated import FederatedPlan, split, train
from quintain.training import Recipe, fit

ONE_STEP = Recipe(epochs=1, batch=10_000, rate=0.5, optimizer="sgd", schedule="constant")


def blobs(n=400, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    x = np.clip(0.5 + 0.15 * rng.standard_normal((n, 6)) + 0.25 * (labels[:, None] - 0.5), 0, 1)
    return from_arrays(x.astype(np.float32), labels, classes=2)


def linear(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)).eval()


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def accuracy(net, data):
    x, y = data.batch(np.arange(len(data)))
    with torch.no_grad():
        return (net(x).argmax(1) == y).float().mean().item()


def test_one_full_batch_step_is_the_pooled_step():
    data = blobs()
    sites = split(data, 4, alpha=1.0, least=10, least_per_class=1).sites
    pooled, federated = linear(), linear()
    fit(pooled, data, ONE_STEP)
    result = train(sites, federated, FederatedPlan(1, ONE_STEP))
    assert (weights(pooled) - weights(linear())).abs().max() > 1e-2
    assert (weights(pooled) - weights(federated)).abs().max() < 1e-6
    assert result.rounds[0].examples == len(data)


def test_a_round_without_one_site_is_the_pooled_step_of_the_others():
    data = blobs()
    sites = split(data, 4, alpha=None).sites
    federated, pooled = linear(), linear()
    result = train(sites, federated, FederatedPlan(1, ONE_STEP), drop={0: ("hospital-2", "masked")})
    left = [name for name in sites if name != "hospital-2"]
    x, y = (torch.cat(parts).numpy() for parts in zip(*(sites[n].batch(np.arange(len(sites[n]))) for n in left), strict=True))
    fit(pooled, from_arrays(x, y, classes=2), ONE_STEP)
    assert (weights(pooled) - weights(federated)).abs().max() < 1e-6
    assert result.rounds[0].survivors == tuple(left)
    assert result.rounds[0].dropped == ("hospital-2",)


def test_rounds_learn_and_their_facts_are_told():
    data = blobs()
    net, told = linear(), []
    before = accuracy(net, data)
    plan = FederatedPlan(4, Recipe(epochs=10, batch=32, rate=0.02))
    drop = {1: ("hospital-3", "masked"), 2: ("hospital-1", "late")}
    sites = split(data, 5, least=10, least_per_class=1).sites
    result = train(sites, net, plan, seed=3, drop=drop, on_round=lambda facts, summed: told.append((facts, summed)))
    assert accuracy(net, data) > max(0.75, before)
    assert [facts for facts, _ in told] == list(result.rounds)
    assert all(facts.exact for facts in result.rounds)
    assert [facts.dropped for facts in result.rounds] == [(), ("hospital-3",), ("hospital-1",), ()]
    assert [facts.masked_vectors for facts in result.rounds] == [5, 4, 5, 5]
    assert result.rounds[1].examples == len(data) - len(sites["hospital-3"])
    assert result.rounds[0].bytes_up["hospital-1"] > 4 * result.encoding.words
    assert all(facts.clipped == 0 and set(facts.losses) == set(sites) for facts in result.rounds)
    assert len({summed.seen.policy.round_id for _, summed in told}) == 4
    assert len({summed.seen.policy.model_hash for _, summed in told}) == 4
    assert (result.parties, result.threshold) == (5, 4)
    assert not net.training


def test_the_seed_decides_the_model_and_the_masks_do_not():
    sites = split(blobs(), 3, least=10, least_per_class=1).sites
    plan = FederatedPlan(2, Recipe(epochs=1, batch=32))
    nets = [linear() for _ in range(3)]
    for net, seed in zip(nets, (1, 1, 2), strict=True):
        train(sites, net, plan, seed=seed)
    assert torch.equal(weights(nets[0]), weights(nets[1]))
    assert not torch.equal(weights(nets[0]), weights(nets[2]))


def test_an_abandoned_round_changes_nothing_and_the_next_goes_on():
    sites = split(blobs(), 3, least=10, least_per_class=1).sites
    plan = FederatedPlan(2, ONE_STEP)
    net, hashes = linear(), []
    start = weights(net)

    def note(facts, summed):
        hashes.append(torch.equal(weights(net), start))
        assert (summed is None) == bool(facts.abandoned)

    result = train(sites, net, plan, drop={0: ("hospital-1", "unmask")}, on_round=note)
    assert hashes == [True, False]
    assert "2 of 3 sites unmasked; 3 are needed" in result.rounds[0].abandoned
    assert result.rounds[0].survivors == ()
    with pytest.raises(ProtocolError, match="all 1 rounds were abandoned"):
        train(sites, net, FederatedPlan(1, ONE_STEP), drop={0: ("hospital-1", "masked")})


def test_an_update_beyond_the_clip_is_cut_and_counted():
    sites = split(blobs(), 3, least=10, least_per_class=1).sites
    net = linear()
    before = weights(net)
    result = train(sites, net, FederatedPlan(1, ONE_STEP, clip=1e-3))
    assert result.rounds[0].clipped > 0
    assert (weights(net) - before).abs().max() <= 1e-3 * (1 + 1e-4)


def test_running_statistics_are_refused_by_name():
    net = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
    with pytest.raises(ModelError, match=r"the buffer '1.running_mean'.*GroupNorm"):
        train(split(blobs(), 3).sites, net, FederatedPlan(1, ONE_STEP))


def test_frozen_weights_stay_and_are_not_sent():
    net = linear()
    net[1].requires_grad_(False)
    kept = copy.deepcopy(net[1].state_dict())
    result = train(split(blobs(), 3).sites, net, FederatedPlan(1, ONE_STEP))
    assert result.encoding.length == 8 * 2 + 2
    assert all(torch.equal(kept[name], value) for name, value in net[1].state_dict().items())


@pytest.mark.parametrize(
    ("drop", "match"), [({0: ("nobody", "masked")}, "drop names 'nobody'"), ({5: ("hospital-1", "masked")}, "in rounds 0 to 0")]
)
def test_a_drop_that_cannot_be_is_refused(drop, match):
    with pytest.raises(SettingError, match=match):
        train(split(blobs(), 3).sites, linear(), FederatedPlan(1, ONE_STEP), drop=drop)


def test_plans_and_federations_that_cannot_be_are_refused():
    with pytest.raises(SettingError, match="rounds = 0"):
        FederatedPlan(0, ONE_STEP)
    with pytest.raises(SettingError, match="at least two"):
        train({"alone": blobs()}, linear(), FederatedPlan(1, ONE_STEP))


def test_the_model_hash_covers_names_values_and_buffers():
    from quintain.federated.loop import model_hash

    net = linear()
    changed = copy.deepcopy(net)
    with torch.no_grad():
        changed[1].bias[0] += 1e-6
    buffered = copy.deepcopy(net)
    buffered.register_buffer("mean", torch.zeros(1))
    assert model_hash(net) == model_hash(copy.deepcopy(net))
    assert len({model_hash(net), model_hash(changed), model_hash(buffered)}) == 3
    assert len(model_hash(net)) == hashlib.sha256().digest_size


def test_the_model_hash_covers_shapes_and_buffers_that_are_not_saved():
    from quintain.federated.loop import model_hash

    wide, tall = nn.Linear(3, 2, bias=False), nn.Linear(2, 3, bias=False)
    with torch.no_grad():
        tall.weight.copy_(wide.weight.reshape(3, 2))
    assert model_hash(wide) != model_hash(tall)

    first, second = (nn.Linear(2, 2, bias=False) for _ in range(2))
    second.load_state_dict(first.state_dict())
    assert model_hash(first) == model_hash(second)
    for net, value in ((first, 0.0), (second, 1.0)):
        net.register_buffer("offset", torch.full((2,), value), persistent=False)
    assert model_hash(first) != model_hash(second)
