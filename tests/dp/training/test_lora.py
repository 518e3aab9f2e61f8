"""Low-rank updates: the same function at first and after a merge, and a private step that bounds and moves
every trainable part.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import SettingError
from quintain.dp import PrivacyEngine
from quintain.dp.training.lora import LoRALayer, add_lora, merge_lora


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv2d(1, 3, 3, padding=1)
        self.query = nn.Linear(48, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.query(self.filters(x).flatten(1))))


def made() -> Net:
    torch.manual_seed(0)
    return Net()


def disturbed(net: nn.Module) -> nn.Module:
    """With updates that are not zero."""
    for parameter in net.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter)
    return net


def test_at_first_the_function_is_the_same_and_only_updates_train() -> None:
    net, x = made(), torch.rand(4, 1, 4, 4)
    before = net(x)
    assert add_lora(net, rank=2) == ["filters", "query", "head"]
    assert torch.equal(net(x), before)
    assert {name for name, p in net.named_parameters() if p.requires_grad} == {
        f"{layer}.{side}.weight" for layer in ("filters", "query", "head") for side in ("down", "up")
    }


@settings(max_examples=25, deadline=None)
@given(
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    rank=st.integers(1, 3),
    bias=st.booleans(),
)
def test_a_merged_convolution_does_the_same(
    kernel: int, stride: int, padding: int, dilation: int, rank: int, bias: bool
) -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, kernel, stride, padding, dilation, bias=bias)).double()
    add_lora(net, rank=rank, alpha=3.0)
    x = torch.rand(2, 2, 7, 7, dtype=torch.float64)
    with torch.no_grad():
        expected = disturbed(net)(x)
        torch.testing.assert_close(merge_lora(net)(x), expected, rtol=1e-9, atol=1e-12)


def test_a_merged_net_has_its_first_form() -> None:
    net, first = made().double(), made()
    add_lora(net, rank=2, alpha=5.0)
    x = torch.rand(4, 1, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        expected = disturbed(net)(x)
        assert merge_lora(net) is net
        torch.testing.assert_close(net(x), expected, rtol=1e-9, atol=1e-12)
    assert {name: p.shape for name, p in net.state_dict().items()} == {
        name: p.shape for name, p in first.state_dict().items()
    }


def test_the_weight_that_it_shows_is_the_merged_one() -> None:
    layer = disturbed(LoRALayer(nn.Linear(4, 3), rank=2, alpha=1.0))
    x = torch.rand(5, 4)
    torch.testing.assert_close(F.linear(x, layer.weight, layer.bias), layer(x))


@pytest.mark.parametrize("unfrozen", [False, True])
def test_the_first_private_step_clips_and_moves_every_trainable_parameter(unfrozen: bool) -> None:
    net = made()
    add_lora(net, rank=2, targets=["filters", "query"])
    if unfrozen:
        net.head.requires_grad_(True)
    disturbed(net)
    x, y = torch.rand(30, 1, 4, 4), torch.arange(30) % 2
    trained = {name: p for name, p in net.named_parameters() if p.requires_grad}
    before = copy.deepcopy(net.state_dict())
    private, optimizer, loader = PrivacyEngine(seed=0).make_private(
        module=net,
        optimizer=torch.optim.SGD(trained.values(), lr=1.0),
        data_loader=DataLoader(TensorDataset(x, y), batch_size=30),
        noise_multiplier=0.0,
        max_grad_norm=1e-3,
        allow_no_privacy=True,
    )
    images, labels = next(iter(loader))
    F.cross_entropy(private(images), labels).backward()
    optimizer.step()
    total = torch.zeros(sum(p.numel() for p in trained.values()))
    for one in range(30):
        alone = copy.deepcopy(made())
        add_lora(alone, rank=2, targets=["filters", "query"])
        alone.head.requires_grad_(unfrozen)
        alone.load_state_dict(before)
        gradients = torch.autograd.grad(
            F.cross_entropy(alone(x[one : one + 1]), y[one : one + 1]),
            [p for p in alone.parameters() if p.requires_grad],
        )
        flat = torch.cat([g.flatten() for g in gradients])
        total += flat * min(1.0, 1e-3 / flat.norm())
    torch.testing.assert_close(
        torch.cat([p.grad.flatten() for p in trained.values()]), total / 30, rtol=1e-3, atol=1e-8
    )
    assert optimizer.examples_clipped == 30
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == set(trained)


def test_seeds_repeat_and_layers_differ() -> None:
    nets = [nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)) for _ in range(2)]
    for net in nets:
        add_lora(net, rank=2, seed=7)
    assert torch.equal(nets[0][0].down.weight, nets[1][0].down.weight)
    assert not torch.equal(nets[0][0].down.weight, nets[0][1].down.weight)


def test_what_cannot_be_meant_is_refused() -> None:
    for targets in (["nothing"], ["query", "nothing"]):
        with pytest.raises(SettingError, match=r"nothing.*expected some of filters, query, head"):
            add_lora(made(), targets=targets)
    with pytest.raises(SettingError, match="expected some of a module with such layers"):
        add_lora(nn.Sequential(nn.ReLU()))
    for change in ({"rank": 0}, {"alpha": 0.0}):
        with pytest.raises(SettingError, match="expected at least 1, and a positive number"):
            add_lora(made(), **change)


def test_subclasses_that_others_read_the_weights_of_are_left_alone() -> None:
    net = nn.Sequential(nn.MultiheadAttention(4, 2), nn.Linear(4, 4), nn.Conv2d(4, 4, 1, groups=2))
    assert add_lora(net, rank=1) == ["1"]
