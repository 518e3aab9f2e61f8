"""Residual blocks: constants never below the exact ones, and of folded SDP-based layers no more than 1."""

import itertools
import math

import pytest
import torch
from torch import nn

from quintain.attacks import PGD
from quintain.certify import Lipschitz
from quintain.certify.lipschitz import growth, residual
from quintain.certify.lipschitz.residual import residual_constant
from quintain.core.errors import ModelError
from quintain.models import Classifier, SLLLinear
from quintain.models.lipschitz_layers import ResidualBlock, fold
from quintain.testing import random_inputs
from quintain.threats import L2


def exact_constant(w, a):
    """The largest gain over all slopes: it is convex in each, so that slopes of 0 and 1 have it."""
    eye = torch.eye(w.shape[1], dtype=torch.float64)
    slopes = itertools.product((0.0, 1.0), repeat=len(w))
    gains = [torch.linalg.matrix_norm(eye + a * torch.tensor(s, dtype=torch.float64) @ w, 2) for s in slopes]
    return float(max(gains))


def random_blocks():
    rng = torch.Generator().manual_seed(0)
    for number in range(40):
        w = torch.randn(1 + number % 6, 4, generator=rng, dtype=torch.float64)
        follows = -w.T * torch.rand(len(w), generator=rng, dtype=torch.float64)
        strays = torch.randn(4, len(w), generator=rng, dtype=torch.float64)
        yield w, follows * (0.1 + number % 5) + strays * (0.0, 0.05, 1.0)[number % 3]


def sdp_layer(number, features=5, hidden=7):
    torch.manual_seed(number)
    layer = SLLLinear(features, hidden)
    with torch.no_grad():
        layer.weight.normal_(std=10.0 ** (number % 5 - 2))
        layer.bias.normal_()
        layer.log_q.normal_()
    return layer


def require_above():
    for w, a in random_blocks():
        assert residual_constant(w, a) >= exact_constant(w, a)


def test_no_constant_is_below_the_exact_one():
    require_above()


@pytest.mark.parametrize("term", ["coupling", "dominance"])
def test_a_term_that_is_left_out_falls_below(term, monkeypatch):
    if term == "coupling":
        monkeypatch.setattr(residual, "spectral_norm_bound", lambda m: torch.tensor(float(m.shape[0] < 4)))
    else:
        monkeypatch.setattr(residual, "_dominance_weights", lambda _products, t: torch.full_like(t, -1e-9))
        monkeypatch.setattr(residual, "max", lambda *_: 0.0, raising=False)
    with pytest.raises(AssertionError):
        require_above()


@pytest.mark.parametrize("number", range(10))
@pytest.mark.rounding
def test_folded_sdp_based_layers_are_one_lipschitz_up_to_rounding(number):
    layer = sdp_layer(number)
    x = torch.rand(20, 5, generator=torch.Generator().manual_seed(1))
    block = fold(nn.Sequential(layer))[0]
    assert isinstance(block, ResidualBlock)
    assert (block(x) - layer(x)).abs().max() <= 1e-4 * (1 + layer(x).abs().max())
    first, _, second = block.inner
    found = residual_constant(first.weight, second.weight)
    exact = exact_constant(first.weight.detach().double(), second.weight.detach().double())
    assert exact <= found <= 1 + 1e-3


@pytest.mark.parametrize("number", range(3))
def test_gains_over_pairs_of_points_stay_below(number):
    first, _, second = fold(nn.Sequential(sdp_layer(number)))[0].inner
    constant = residual_constant(first.weight, second.weight)
    block = ResidualBlock(nn.Sequential(first, nn.ReLU(), second)).double()
    rng = torch.Generator().manual_seed(number)
    start, end = (torch.randn(2000, 5, generator=rng, dtype=torch.float64) for _ in range(2))
    with torch.no_grad():
        gains = (block(start) - block(end)).norm(dim=1) / (start - end).norm(dim=1)
    assert 0.3 < gains.max() <= constant


def test_a_net_of_blocks_is_certified_beyond_the_sum_of_its_branches_and_no_attack_crosses(monkeypatch):
    torch.manual_seed(0)
    blocks = [sdp_layer(number, 16, 24) for number in (1, 2, 6, 7)]
    net = fold(nn.Sequential(nn.Flatten(), *blocks, nn.Linear(16, 3))).eval()
    model = Classifier(net, num_classes=3)
    x = random_inputs(30, 1, 4, 4, seed=3).float()
    y = model.predict(x)
    sizes = (0.01, 0.02, 0.05, 0.1, 0.2)

    def certified():
        return torch.stack([Lipschitz()(model, x, y, L2(eps)).certified for eps in sizes])

    by_blocks = certified()
    for eps, proven in zip(sizes, by_blocks, strict=True):
        assert not (PGD(20)(model, x, y, L2(eps), seed=0).success & proven).any()
    monkeypatch.setattr(growth, "residual_block", lambda _operation, _recording: None)
    by_branches = certified()
    assert (by_blocks | ~by_branches).all()
    assert by_blocks.sum() > 2 * by_branches.sum()


def test_weights_that_are_no_numbers_have_no_constant():
    assert residual_constant(torch.full((2, 2), math.nan), torch.zeros(2, 2)) == math.inf


class Broadcast(nn.Module):
    """A sum that repeats its branch, or its skip, along the features."""

    def __init__(self, skip_features, features):
        super().__init__()
        self.first, self.second = nn.Linear(skip_features, 3), nn.Linear(3, features)

    def forward(self, h):
        return h + self.second(torch.relu(self.first(h)))


@pytest.mark.parametrize(("skip", "features"), [(4, 1), (1, 4)])
def test_a_sum_of_two_shapes_is_no_residual_block(skip, features):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, skip), Broadcast(skip, features), nn.Linear(4, 2)).eval()
    found = []

    def looked_at(operation, recording):
        found.append(residual.residual_block(operation, recording))
        return found[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growth, "residual_block", looked_at)
        model = Classifier(net, num_classes=2)
        x = random_inputs(3, 1, 2, 2, seed=1).float()
        Lipschitz()(model, x, model.predict(x), L2(0.01))
    assert found
    assert all(one is None for one in found)


def test_a_repeated_branch_certifies_nothing_that_breaks():
    """The sum (N, 2) + (N, 1), whose branch reaches both features."""
    net = nn.Sequential(nn.Flatten(), Broadcast(2, 1), nn.Linear(2, 2)).eval()
    with torch.no_grad():
        for layer, rows in (
            (net[1].first, [[3.0, -3.0], [0.0, 0.0], [0.0, 0.0]]),
            (net[1].second, [[1.0, 0.0, 0.0]]),
            (net[2], [[0.0, 0.0], [1.0, 1.0]]),
        ):
            layer.weight.copy_(torch.tensor(rows))
            layer.bias.zero_()
        net[2].bias.copy_(torch.tensor([1.6, 0.0]))
    model, x = Classifier(net, num_classes=2), torch.tensor([[[[0.5, 0.5]]]])
    y, broken = model.predict(x), torch.tensor([[[[0.8, 0.2]]]])
    assert model.predict(broken) != y
    assert not Lipschitz()(model, x, y, L2(0.45)).certified.any()


def test_matrices_that_do_not_fit_are_refused_and_numbers_that_overflow_bound_nothing():
    with pytest.raises(ModelError, match="expected \\(hidden, features\\) and \\(features, hidden\\)"):
        residual_constant(torch.zeros(3, 4), torch.zeros(1, 3))
    h = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    assert residual_constant(h.T * 1e-153, -h * 1e155) == math.inf


def test_a_layer_that_occurs_twice_is_folded_in_both_places():
    layer = sdp_layer(0, 4, 4)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    x = torch.rand(5, 4)
    before = net(x)
    folded = fold(net)
    assert folded[0] is folded[2]
    assert isinstance(folded[0], ResidualBlock)
    assert (folded(x) - before).abs().max() < 1e-5


def test_weights_of_the_dominance_may_lie_far_apart():
    layer = sdp_layer(2)
    with torch.no_grad():
        layer.log_q.copy_(torch.linspace(-90, 90, len(layer.log_q)))
    first, _, second = fold(nn.Sequential(layer))[0].inner
    exact = exact_constant(first.weight.detach().double(), second.weight.detach().double())
    assert exact <= 1 + 1e-5
    assert residual_constant(first.weight, second.weight) >= exact
