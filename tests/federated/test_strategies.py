"""What each strategy is: by closed forms, by what it comes to where it should be federated averaging."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import ModelError, ProtocolError, SettingError
from quintain.data.dataset import from_arrays
from quintain.federated import (
    DropoutStage,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedBN,
    FederatedConfig,
    FedProx,
    FedYogi,
    PersonalHead,
    Scaffold,
    client,
    partition,
    simulate,
)
from quintain.training import Recipe, fit
from tests.federated.settings import Party, blobs, linear, weights

FULL = Recipe(epochs=3, batch_size=10_000, learning_rate=0.5, optimizer="sgd", schedule="constant")
ONE_STEP = Recipe(epochs=1, batch_size=10_000, learning_rate=0.5, optimizer="sgd", schedule="constant")


def four_sites():
    return partition(blobs(), 4, alpha=10.0, min_examples=10, min_per_class=1).sites


def trained(strategy, recipe=FULL, rounds=2, sites=None, net=None, **settings):
    net = linear() if net is None else net
    sites = four_sites() if sites is None else sites
    return net, simulate(sites, net, FederatedConfig(rounds, recipe, strategy=strategy), **settings)


def with_batch_norm():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2)
        ).eval()


@pytest.mark.parametrize("recipe", [FULL, Recipe(epochs=1, batch_size=16, learning_rate=0.05)])
def test_fedprox_without_a_pull_is_fedavg_bit_for_bit(recipe):
    assert torch.equal(weights(trained(FedProx(0.0), recipe)[0]), weights(trained(FedAvg(), recipe)[0]))


def test_momentum_0_is_fedavg_bit_for_bit_and_three_steps_with_it_are_those_of_the_closed_form():
    assert torch.equal(weights(trained(FedAvgM(0.0))[0]), weights(trained(FedAvg())[0]))
    averages = torch.tensor([[0.2, -0.1, 0.0], [-0.1, 0.3, 0.4], [0.0, 0.2, -0.4]]).double()
    state, steps = {}, []
    for mean in averages:
        change, state = FedAvgM(0.5).step(mean, state, 0.8)
        steps.append(change)
    first, second, third = averages
    assert torch.equal(steps[0], first)
    assert torch.allclose(steps[1], second + first / 2, rtol=1e-15, atol=0)
    assert torch.allclose(steps[2], third + second / 2 + first / 4, rtol=1e-15, atol=1e-18)
    assert FedAvgM(0.75).largest_step(0.1) == pytest.approx(0.4)


def test_fedprox_keeps_sites_nearer_to_the_common_model():
    moved = [
        (weights(trained(strategy, rounds=1)[0]) - weights(linear())).norm().item()
        for strategy in (FedAvg(), FedProx(0.1), FedProx(1.0))
    ]
    assert moved[0] > moved[1] > moved[2] > 0


def test_a_pulled_step_is_that_of_its_closed_form():
    """The second of two full-batch steps subtracts rate x mu x (first step) beside the gradient."""
    sites, mu = four_sites(), 0.3
    found, _ = trained(FedProx(mu), FULL, 1, sites)
    expected = []
    for data in sites.values():
        net, start = linear(), [one.detach().clone() for one in linear().parameters()]
        x, y = data.batch(np.arange(len(data)))
        for _ in range(FULL.epochs):
            gradients = torch.autograd.grad(nn.functional.cross_entropy(net(x), y), list(net.parameters()))
            with torch.no_grad():
                for one, gradient, first in zip(net.parameters(), gradients, start, strict=True):
                    one -= FULL.learning_rate * (gradient + mu * (one - first))
        expected.append(weights(net))
    assert (weights(found) - torch.stack(expected).mean(0)).abs().max() < 1e-5


@pytest.mark.parametrize("kind", [FedAdam, FedYogi])
def test_two_adaptive_steps_are_those_of_the_closed_form(kind):
    rate, b1, b2, tau = 0.05, 0.9, 0.99, 1e-3
    strategy = kind(rate, b1, b2, tau)
    first, second = torch.tensor([0.2, -1e-4, 0.0]).double(), torch.tensor([-0.1, 5e-4, 0.3]).double()
    one, state = strategy.step(first, {}, 1.0)
    two, _ = strategy.step(second, state, 1.0)
    for place in range(3):
        d1, d2 = float(first[place]), float(second[place])
        m1 = (1 - b1) * d1
        m2 = b1 * (1 - b1) * d1 + (1 - b1) * d2
        if kind is FedAdam:
            v1 = b2 * tau**2 + (1 - b2) * d1**2
            v2 = b2**2 * tau**2 + b2 * (1 - b2) * d1**2 + (1 - b2) * d2**2
        else:
            v1 = tau**2 - (1 - b2) * d1**2 * np.sign(tau**2 - d1**2)
            v2 = v1 - (1 - b2) * d2**2 * np.sign(v1 - d2**2)
        assert float(one[place]) == pytest.approx(rate * m1 / (v1**0.5 + tau), rel=1e-12)
        assert float(two[place]) == pytest.approx(rate * m2 / (v2**0.5 + tau), rel=1e-12)


@pytest.mark.parametrize("strategy", [FedAvg(), FedProx(0.5), Scaffold(), FedBN()], ids=lambda one: one.name)
def test_one_full_batch_step_is_the_pooled_step(strategy):
    """In the first step there is no distance to pull at, no control variate, and nothing to normalize."""
    data, pooled, federated = blobs(), linear(), linear()
    sites = partition(data, 4, alpha=10.0, min_examples=10, min_per_class=1).sites
    fit(pooled, data, ONE_STEP)
    sizes = {name: len(one) for name, one in sites.items()}
    config = FederatedConfig(1, ONE_STEP, weights=sizes, min_survivors=4, max_corrupt=0, strategy=strategy)
    simulate(sites, federated, config)
    assert (weights(pooled) - weights(linear())).abs().max() > 1e-2
    assert (weights(pooled) - weights(federated)).abs().max() < 1e-6


def test_scaffold_on_equal_sites_is_fedavg_also_when_one_drops_out():
    equal = {f"site-{place}": blobs(120) for place in range(4)}
    drop = {1: {"site-1": "masked"}}
    controlled, _ = trained(Scaffold(), rounds=4, sites=equal, dropouts=drop)
    averaged, _ = trained(FedAvg(), rounds=4, sites=equal, dropouts=drop)
    assert (weights(controlled) - weights(linear())).abs().max() > 0.1
    assert (weights(controlled) - weights(averaged)).abs().max() < 1e-5


def pooled_gradient(net, sites):
    """The mean over the sites of their gradients, which is zero where the common loss is least."""
    losses = [
        nn.functional.cross_entropy(net(x), y)
        for x, y in (one.batch(np.arange(len(one))) for one in sites.values())
    ]
    parts = torch.autograd.grad(torch.stack(losses).mean(), list(net.parameters()))
    return float(torch.cat([part.flatten() for part in parts]).norm())


def test_scaffold_ends_where_the_common_loss_is_least_and_fedavg_does_not():
    """Sites of opposite labels and many local steps: averages of drifted models stand still elsewhere."""
    sites, rng = {}, np.random.default_rng(0)
    for place, odds in enumerate((0.1, 0.2, 0.6, 0.9)):
        x = rng.random((60, 6)).astype(np.float32)
        x[:, 0] *= 1 + place
        y = (rng.random(60) < odds).astype(np.int64)
        sites[f"site-{place}"] = from_arrays(np.clip(x / 4, 0, 1), y, num_classes=2)
    many = Recipe(epochs=5, batch_size=10_000, learning_rate=2.0, optimizer="sgd", schedule="constant")

    def logistic():
        net = nn.Sequential(nn.Flatten(), nn.Linear(6, 2)).eval()
        with torch.no_grad():
            for one in net.parameters():
                one.zero_()
        return net

    drop = {3: {"site-1": "masked"}, 8: {"site-3": "masked"}}
    left = {
        strategy.name: pooled_gradient(
            trained(strategy, many, 20, sites, logistic(), dropouts=drop)[0], sites
        )
        for strategy in (FedAvg(), Scaffold())
    }
    assert left["scaffold"] < left["fedavg"] / 5


def test_scaffold_needs_plain_sgd():
    with pytest.raises(SettingError, match="local steps of adam"):
        FederatedConfig(1, Recipe(epochs=1), strategy=Scaffold())


def test_fedbn_without_such_layers_is_fedavg_bit_for_bit():
    assert torch.equal(weights(trained(FedBN())[0]), weights(trained(FedAvg())[0]))


def test_batch_norm_trains_where_it_stays_at_home_and_is_refused_otherwise():
    recipe = Recipe(epochs=2, batch_size=32, learning_rate=0.02)
    with pytest.raises(ModelError, match=r"running statistics do not average.*strategy fedbn"):
        trained(FedAvg(), recipe, net=with_batch_norm())
    data, net = blobs(), with_batch_norm()
    _, run = trained(FedBN(), recipe, rounds=6, net=net)
    x, y = data.batch(np.arange(len(data)))
    models = run.personal_models
    assert set(models) == set(four_sites())
    for name, model in models.items():
        accuracy = (model(x).argmax(1) == y).float().mean().item()
        assert accuracy > 0.75, name
        assert int(model[2].num_batches_tracked) > 0
        for place in (1, 4):
            assert torch.equal(model[place].weight, net[place].weight)
    own = [model[2].running_mean for model in models.values()]
    assert not torch.equal(own[0], own[1])
    assert torch.allclose(net[2].running_mean, torch.stack(own).mean(0), atol=1e-6)


def test_what_stays_at_home_is_in_no_vector_that_leaves(monkeypatch):
    """The vectors are as long as the shared part, and the common model's own part never moves."""
    _, run = trained(FedBN(), net=with_batch_norm())
    shared = sum(value.numel() for place in (1, 4) for value in with_batch_norm()[place].parameters())
    assert run.encoding.length == shared
    party = Party(config=FederatedConfig(2, FULL, strategy=PersonalHead()))
    server = party.server()
    while not server.is_finished:
        server.run_round(party.network())
    last, first = server.net.state_dict(), linear().state_dict()
    assert all(torch.equal(last[f"3.{part}"], first[f"3.{part}"]) for part in ("weight", "bias"))
    assert not torch.equal(last["1.weight"], first["1.weight"])
    heads = [client.home["3.weight"] for client in party.clients]
    assert not torch.equal(heads[0], heads[1])


def test_a_head_of_which_no_parameter_has_the_prefix_or_that_is_the_whole_net_is_refused():
    with pytest.raises(SettingError, match=r"prefix = 'head\.' begins the name of no parameter"):
        trained(PersonalHead("head."))
    with pytest.raises(ModelError, match="no trainable parameters"):
        trained(PersonalHead("1."), net=nn.Sequential(nn.Flatten(), nn.Linear(6, 2)).eval())


def test_frozen_parameters_stay_frozen_in_a_personal_part():
    net = with_batch_norm()
    net[2].weight.requires_grad_(False)
    before = net[2].weight.clone()
    _, run = trained(FedBN(), net=net)
    for model in run.personal_models.values():
        assert torch.equal(model[2].weight, before)
        assert not torch.equal(model[2].bias, torch.zeros(8))


@pytest.mark.parametrize(
    ("strategy", "make", "part"), [(PersonalHead(), linear, 3), (FedBN(), with_batch_norm, 2)]
)
def test_a_site_that_never_trained_still_has_its_own_first_part(strategy, make, part, monkeypatch):
    """And not the average of the others' parts, which no site can make."""
    real, sites = client.local_update, four_sites()

    def failing(net, data, *args, **kwargs):
        if data is sites["hospital-1"]:
            raise ModelError("no memory left")
        return real(net, data, *args, **kwargs)

    monkeypatch.setattr(client, "local_update", failing)
    net, run = trained(strategy, sites=sites, net=make())
    own, first = run.personal_models["hospital-1"], make()
    for name, value in own[part].state_dict().items():
        assert torch.equal(value, first[part].state_dict()[name])
    assert not torch.equal(own[part].weight, net[part].weight)
    assert torch.equal(own[1].weight, net[1].weight)
    assert own[part].weight.requires_grad


def test_a_site_that_was_left_out_of_the_sum_goes_on_with_what_it_had():
    """Else the common control variate would no longer be the average of the sites' own."""
    party = Party(config=FederatedConfig(3, FULL, strategy=Scaffold()))
    server = party.server()
    server.run_round(party.network())
    before = {name: value.clone() for name, value in party.clients[2].home.items()}
    server.run_round(party.network(dropouts={2: DropoutStage.MASKED}))
    assert not torch.equal(party.clients[2].home["0"], before["0"])
    server.run_round(party.network())
    assert torch.equal(party.clients[2]._home["0"], before["0"])
    average = torch.stack([client.home["0"] for client in party.clients]).mean(0)
    common = server.net.control[0].detach() / FULL.learning_rate
    assert (average - common).abs().max() < 1e-5


@pytest.mark.parametrize("first", ["late", "abandoned"])
def test_a_site_that_missed_the_task_after_it_was_left_out_learns_of_it_from_a_later_one(first):
    """The sum that is published then is of a round that it was not in."""
    party = Party(config=FederatedConfig(4, FULL, strategy=Scaffold()))
    server, tried = party.server(), []
    late = {3: DropoutStage.LATE} if first == "late" else {2: DropoutStage.MASKED, 3: DropoutStage.LATE}
    for index in range(4):
        network = party.network(late if index == 0 else {}, down=(3,) if index == 1 else ())
        tried.append(server.run_round(network))
    assert bool(tried[0].abort_reason) == (first == "abandoned")
    assert [len(one.survivors) for one in tried[1:]] == [3, 4, 4]
    average = torch.stack([client.home["0"] for client in party.clients]).mean(0)
    common = server.net.control[0].detach() / FULL.learning_rate
    assert average.abs().max() > 1e-3
    assert (average - common).abs().max() < 1e-5


def test_a_client_of_another_strategy_refuses_the_round(monkeypatch):
    party = Party(config=FederatedConfig(1, FULL))
    other = FederatedConfig(1, FULL, strategy=FedProx(0.1))
    task = []
    network = party.network()
    monkeypatch.setattr(network, "broadcast", lambda message, sites: task.append(message) or ())
    party.server().run_round(network)
    client = party.client("hospital-1", plan=party.plan(config=other))
    with pytest.raises(ProtocolError, match="recipe"):
        client.handle(task[0])
    assert client.update is None


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: FedProx(-1.0), "mu = -1"),
        (lambda: FedProx(float("nan")), "mu = nan"),
        (lambda: FedAvgM(1.0), "momentum = 1"),
        (lambda: FedAvgM(float("nan")), "momentum = nan"),
        (lambda: FedAdam(0.0), "learning_rate = 0"),
        (lambda: FedYogi(tau=0.0), "tau = 0"),
        (lambda: FedAdam(beta1=1.0), "beta1 = 1"),
        (lambda: FedAdam(beta1=0.9, beta2=0.6), "beta2 = 0.6"),
        (lambda: FederatedConfig(1, FULL, strategy="fedavg"), "strategy"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, match):
    with pytest.raises(SettingError, match=match):
        make()


def test_the_net_of_the_caller_is_moved_and_keeps_what_was_trainable():
    for strategy in (FedBN(), PersonalHead(), Scaffold()):
        net = linear()
        first = copy.deepcopy(net)
        trained(strategy, net=net)
        assert not torch.equal(weights(net), weights(first))
        assert all(one.requires_grad for one in net.parameters())
        assert net.state_dict().keys() == first.state_dict().keys()
