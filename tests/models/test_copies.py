"""Copies of nets: equal to their originals, and nothing in common with them."""

import copy

import pytest
import torch
import torch.fx
from torch import nn
from torch.nn.utils import parametrizations

from quintain.models.copies import copy_net


class Odd(nn.Module):
    """A net with what modules have beside layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.again = self.first
        self.norm = nn.BatchNorm1d(4)
        self.memory = nn.LSTM(4, 4)
        self.kept = {"steps": [torch.zeros(2)], "sizes": (4, 4), "names": {"a"}, "nothing": set()}
        self.register_buffer("count", torch.zeros(2), persistent=False)
        self.register_forward_hook(lambda *_: None)
        self.first.requires_grad_(False)

    def forward(self, x):
        return self.memory(self.norm(self.second(self.again(self.first(x)))))[0] + self.count.sum()


class OwnWay(nn.Linear):
    """A layer that is copied in a way of its own."""

    def __deepcopy__(self, memo):
        return OwnWay(self.in_features, 7)


NETS = {
    "layers": lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)).eval(),
    "odd": Odd,
    "parametrized": lambda: parametrizations.weight_norm(nn.Linear(4, 4)),
    "traced": lambda: torch.fx.symbolic_trace(nn.Linear(4, 4)),
}


@pytest.mark.parametrize("name", NETS)
def test_a_copy_is_what_deepcopy_makes_and_shares_no_tensor(name):
    net = NETS[name]()
    twin, deep = copy_net(net), copy.deepcopy(net)
    assert str(twin) == str(deep)
    assert [one.training for one in twin.modules()] == [one.training for one in deep.modules()]
    state, given = twin.state_dict(), net.state_dict()
    assert state.keys() == given.keys()
    assert all(torch.equal(state[key], given[key]) for key in given)
    wanted = {key: one.requires_grad for key, one in net.named_parameters()}
    assert {key: one.requires_grad for key, one in twin.named_parameters()} == wanted
    theirs = {one.data_ptr() for one in (*net.parameters(), *net.buffers())}
    assert theirs.isdisjoint(one.data_ptr() for one in (*twin.parameters(), *twin.buffers()))


def test_what_stands_twice_in_a_net_is_copied_once_and_tables_are_its_own():
    net = Odd()
    twin = copy_net(net)
    assert twin.again is twin.first
    assert twin.first is not net.first
    assert twin.second.weight is twin.first.weight
    assert twin.count is not net.count
    twin.kept["steps"][0] += 1
    twin.kept["names"].add("b")
    twin.kept["nothing"].add("c")
    twin.register_forward_hook(lambda *_: None)
    twin.first.register_forward_hook(lambda *_: None)
    assert (net.kept["steps"][0].sum(), net.kept["names"], net.kept["nothing"]) == (0, {"a"}, set())
    assert (len(net._forward_hooks), len(net.first._forward_hooks)) == (1, 0)
    assert len(twin._forward_hooks) == 2
    x = torch.ones(2, 4)
    assert torch.equal(twin.eval()(x), net.eval()(x))


def test_a_layer_that_is_copied_in_its_own_way_is():
    twin = copy_net(nn.Sequential(OwnWay(4, 2), nn.Linear(2, 2)))
    assert twin[0].out_features == 7
