"""Every registered strategy: its step is pure and bounded, and clients follow it."""

import copy

import pytest
import torch
from torch import nn

from quintain.core.registry import declared_entries
from quintain.data.dataset import from_arrays
from quintain.federated import FederatedConfig, partition, simulate
from quintain.training import Recipe

FOUND = declared_entries("strategy")
every_one = pytest.mark.parametrize("name", sorted(FOUND))
SGD = Recipe(epochs=2, batch_size=32, learning_rate=0.1, optimizer="sgd", schedule="constant")


def sites():
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (160,), generator=rng)
    x = (0.5 + 0.1 * torch.randn(160, 6, generator=rng) + 0.25 * (labels[:, None] - 0.5)).clamp(0, 1)
    data = from_arrays(x.numpy(), labels.numpy(), num_classes=2)
    return partition(data, 4, min_examples=10, min_per_class=1).sites


def small_net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)).eval()


def state_of(net):
    return torch.cat([value.detach().double().flatten() for value in net.state_dict().values()])


@every_one
def test_its_step_is_pure_and_no_longer_than_it_says(name):
    """A client repeats the step, bounds a model by it whose sums it missed, and goes on from its memory."""
    strategy, clip = FOUND[name].load()(), 0.5
    rng, state = torch.Generator().manual_seed(0), {}
    for number in range(60):
        # averages at both ends of the clip, tiny ones, and runs of the same sign
        mean = (torch.rand(40, generator=rng, dtype=torch.float64) * 2 - 1) * clip
        if number % 3:
            mean = mean.sign() * clip * 10.0 ** -(number % 7)
        given = mean.clone(), {key: value.clone() for key, value in state.items()}
        change, after = strategy.step(mean, state, 0.75)
        again, _ = strategy.step(mean, state, 0.75)
        assert torch.equal(change, again)
        assert torch.equal(mean, given[0])
        assert all(torch.equal(state[key], value) for key, value in given[1].items())
        assert change.shape == mean.shape
        assert float(change.abs().max()) <= strategy.largest_step(clip)
        assert strategy.is_stateful or not after
        memory = strategy.memory_after(change)
        if memory is not None:
            assert memory.keys() == after.keys()
            assert all(torch.equal(memory[key], value) for key, value in after.items())
        state = after


@every_one
def test_sites_train_by_it_also_where_one_drops_out_and_repeat_it_bit_for_bit(name):
    """No client finds a model that is not the last one plus the step that it makes itself."""
    nets = []
    for _ in range(2):
        net = small_net()
        run = simulate(
            sites(),
            net,
            FederatedConfig(3, SGD, strategy=FOUND[name].load()()),
            seed=5,
            dropouts={1: {"hospital-2": "masked"}},
        )
        assert all(facts.simulated.exact and not facts.simulated.left for facts in run.rounds)
        assert run.rounds[1].dropped == ("hospital-2",)
        nets.append(net)
    assert torch.equal(state_of(nets[0]), state_of(nets[1]))
    assert not torch.equal(state_of(nets[0]), state_of(small_net()))
    assert set(run.personal_models) == (set(sites()) if FOUND[name].is_true("is_personal") else set())


@every_one
def test_a_training_by_it_that_is_cut_off_ends_with_the_same_model(name, tmp_path):
    config = FederatedConfig(3, SGD, strategy=FOUND[name].load()())
    whole, cut = small_net(), small_net()
    expected = simulate(sites(), whole, config)

    def stop(facts, _summed):
        if facts.index == 1:
            raise KeyboardInterrupt

    first = copy.deepcopy(cut)
    with pytest.raises(KeyboardInterrupt):
        simulate(sites(), first, config, folder=tmp_path, on_round=stop)
    found = simulate(sites(), cut, config, folder=tmp_path)
    assert torch.equal(state_of(whole), state_of(cut))
    for site, personal in expected.personal_models.items():
        assert torch.equal(state_of(personal), state_of(found.personal_models[site]))
