"""The reference nets: their size, their seeds, and normalisation that is exact."""

import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from quintain.core.errors import SettingError
from quintain.core.registry import entries
from quintain.models import Normalize, initialize, mlp, xray_cnn


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("name", sorted(entries("model")))
@pytest.mark.parametrize(("classes", "channels", "size"), [(2, 1, 28), (10, 3, 32), (5, 2, 9), (3, 1, 4)])
def test_every_registered_net_takes_its_data(name, classes, channels, size):
    net = entries("model")[name].load()(classes, channels, size)
    assert net(torch.rand(3, channels, size, size)).shape == (3, classes)


def test_the_xray_net_is_plain_layers_of_known_size():
    net = xray_cnn()
    assert type(net) is nn.Sequential
    assert [type(layer).__name__ for layer in net] == [
        "Conv2d",
        "ReLU",
        "Conv2d",
        "ReLU",
        "Flatten",
        "Linear",
        "ReLU",
        "Linear",
    ]
    assert (
        parameters(net)
        == (16 * 16 + 16) + (32 * 16 * 16 + 32) + (32 * 7 * 7 * 64 + 64) + (64 * 2 + 2)
        == 109_042
    )


@pytest.mark.parametrize("make", [xray_cnn, mlp])
def test_a_net_is_made_without_the_part_of_pytorch_that_imports_sympy(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.fx.experimental.symbolic_shapes", None)
    assert not any(parameter.is_meta for parameter in make().parameters())


@pytest.mark.parametrize("make", [xray_cnn, mlp])
def test_weights_follow_from_the_seed_alone(make):
    before = torch.get_rng_state()
    one, again, other = make(seed=3), make(seed=3), make(seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_first_weights_fill_their_range_evenly():
    layer = xray_cnn(seed=1)[5].requires_grad_(False)
    bound = (32 * 7 * 7) ** -0.5
    assert layer.weight.abs().max() <= bound
    assert layer.weight.std() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert layer.weight.mean() == pytest.approx(0, abs=bound / 100)
    assert layer.bias.abs().max() <= bound


def test_initialise_leaves_layers_without_weights_alone():
    net = nn.Sequential(nn.GroupNorm(1, 4), nn.Flatten())
    assert torch.equal(initialize(net, 1)[0].weight, torch.ones(4))


def test_an_image_too_small_for_two_halvings_is_refused():
    with pytest.raises(SettingError, match="size = 3 pixels"):
        xray_cnn(size=3)


@given(channels=st.integers(1, 4), space=st.sampled_from([(), (3, 2)]))
def test_normalise_is_the_formula_a_channel(channels, space):
    mean = [0.1 * c for c in range(channels)]
    std = [0.5 + c for c in range(channels)]
    x = torch.rand(2, channels, *space)
    z = Normalize(mean, std)(x)
    for c in range(channels):
        assert torch.allclose(z[:, c], (x[:, c] - mean[c]) / std[c])


@pytest.mark.parametrize(
    ("mean", "std"), [([0.5], [0.0]), ([0.5], [-1.0]), ([0.5], [0.1, 0.2]), ([], []), ([0.5], [float("nan")])]
)
def test_normalise_refuses_what_cannot_be_divided_by(mean, std):
    with pytest.raises(SettingError, match="expected one mean and one positive std"):
        Normalize(mean, std)
