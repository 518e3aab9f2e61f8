"""Certified training by bounds and an attack: its loss, ramp, regularizers and first weights."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from quintain.certify import IntervalBounds, TracedNetwork, worst_case_logits
from quintain.certify.interval.domain import Interval
from quintain.harden import MTLIBP, fit
from quintain.harden.mtl_ibp import TOLERANCE, initialize_for_bounds, regularizer, smooth_ramp
from quintain.models import Classifier
from quintain.threats import L2, Linf, contains
from quintain.training import Recipe, StepContext
from tests.harden.test_defenses import batch, context, seen_by, small, squares

SHORT = Recipe(epochs=2, batch_size=32, learning_rate=1e-2)


def plain_net(width=64):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)
    )


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.4)])
def test_the_loss_mixes_bounds_with_an_attack_in_the_ball_of_the_moment(threat):
    net, (x, y) = small().eval(), batch()
    seen = seen_by(net)
    plan = MTLIBP(
        threat, SHORT, robust_weight=0.3, train_eps_ratio=1.0, warmup=0.1, ramp=0.4, regularization=0.0
    )
    loss = plan.objective()(net, x, y, context(70))
    attacked = seen[-1]
    assert contains(threat, attacked, x).all()
    traced = TracedNetwork.trace(net)
    bound = F.cross_entropy(worst_case_logits(traced, x, y, threat), y)
    torch.testing.assert_close(loss, 0.7 * F.cross_entropy(net(attacked), y) + 0.3 * bound)
    # on the ramp both are in the smaller ball
    halfway = plan.objective()(net, x, y, context(30))
    eps = smooth_ramp(0.5) * threat.eps
    assert contains(type(threat)(eps * (1 + 1e-6)), seen[-1], x).all()
    bound = F.cross_entropy(worst_case_logits(traced, x, y, threat, eps=eps), y)
    torch.testing.assert_close(halfway, 0.7 * F.cross_entropy(net(seen[-1]), y) + 0.3 * bound)
    torch.testing.assert_close(plan.objective()(net, x, y, context(5)), F.cross_entropy(net(x), y))


def test_the_ramp_is_smooth_and_rises_from_0_to_1():
    steps = [smooth_ramp(t / 1000) for t in range(1001)]
    rises = np.diff(steps)
    assert steps[0] == 0
    assert steps[-1] == pytest.approx(1)
    assert (rises > 0).all()
    assert (np.diff(rises) > -1e-12).all()
    assert np.ptp(rises[250:]) < 1e-12
    plan = MTLIBP(Linf(0.1), SHORT, warmup=0.1, ramp=0.4)
    assert [plan.ramp_factor(done) for done in (0, 0.1, 0.5, 0.9)] == [0, 0, pytest.approx(1), 1]
    assert MTLIBP(Linf(0.1), SHORT, warmup=0.1, ramp=0.0).ramp_factor(0.11) == 1


def test_the_regularizer_is_its_formula():
    generator = torch.Generator().manual_seed(0)
    first = Interval(torch.rand(5, 4), torch.full((5, 4), 0.1))
    inputs = [
        Interval(torch.randn(5, 7, generator=generator), torch.rand(5, 7, generator=generator) * scale)
        for scale in (0.3, 1.5)
    ]
    expected = 0.0
    for one in inputs:
        center, radius = one.center.flatten().tolist(), one.radius.flatten().tolist()
        mean = sum(center) / len(center)
        active = [c for c, r in zip(center, radius, strict=True) if c - r > 0]
        inactive = [c for c, r in zip(center, radius, strict=True) if c + r < 0]
        ratios = [0.1 / (sum(radius) / len(radius))]
        for a, b in (
            (sum(active), -sum(inactive)),
            (sum((c - mean) ** 2 for c in active), sum((c - mean) ** 2 for c in inactive)),
        ):
            ratios.append(min(a, b) / max(a, b))
        expected += sum(max(0.0, 1 - ratio / TOLERANCE) for ratio in ratios) / 2
    assert regularizer(first, inputs).item() == pytest.approx(expected, rel=1e-5)
    # a layer without units of both kinds has no balance to speak of
    stable = Interval(torch.ones(5, 7), torch.full((5, 7), 0.1))
    assert regularizer(first, [stable]).item() == 0
    assert regularizer(first, []).item() == 0


def test_the_regularizer_is_in_the_loss_while_eps_rises_and_no_more_after_it():
    net, (x, y) = plain_net(), batch()
    settings = {"warmup": 0.0, "ramp": 0.5}
    for step, gains in ((20, True), (60, False)):
        with_it, without = (
            MTLIBP(Linf(0.1), SHORT, regularization=weight, **settings).objective()(net, x, y, context(step))
            for weight in (0.5, 0.0)
        )
        assert (with_it > without) == gains
        assert (with_it == without) != gains


def test_first_weights_keep_bounds_from_growing():
    grown, kept, (x, y) = plain_net(256), plain_net(256), batch()
    initialize_for_bounds(kept, seed=1)
    radii = []
    for net in (grown, kept):
        found: list[Interval] = []
        worst_case_logits(TracedNetwork.trace(net), x, y, Linf(0.02), activations=found)
        radii.append([one.radius.mean().item() for one in found])
    assert radii[0][2] > 3 * radii[0][1] > 3 * radii[0][0]
    # in expectation the first layer doubles radii, of which the ReLU takes half
    assert radii[1][1] == pytest.approx(2 * radii[1][0], rel=0.1)
    assert radii[1][2] == pytest.approx(radii[1][1], rel=0.4)
    assert kept[1].weight.std().item() == pytest.approx(math.sqrt(2 * math.pi) / 16, rel=0.05)
    assert not kept[3].bias.any()
    again, trained = plain_net(256), plain_net(256)
    initialize_for_bounds(again, seed=1)
    assert torch.equal(again[3].weight, kept[3].weight)
    before = trained[3].weight.clone()
    MTLIBP(Linf(0.1), SHORT, initializes=False).prepare(trained, 1)
    assert torch.equal(trained[3].weight, before)


def test_statistics_of_batch_norms_are_of_clean_inputs():
    net, (x, y) = small().train(), batch()
    MTLIBP(Linf(0.1), SHORT, robust_weight=0.5).objective()(net, x, y, context(90))
    expected = 0.9 * torch.zeros(4) + 0.1 * net[0](x).mean((0, 2, 3))
    torch.testing.assert_close(net[1].running_mean, expected)
    assert net[1].num_batches_tracked == 1


@pytest.mark.parametrize("call", ["layer", "function", "method"])
def test_bounds_of_every_kind_of_relu_are_seen(call):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.relu, self.last = nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)

        def forward(self, x):
            h = self.first(x)
            return self.last({"layer": self.relu, "function": F.relu, "method": relu_method}[call](h))

    net, x = Net(), torch.rand(2, 4)
    found: list[Interval] = []
    worst_case_logits(TracedNetwork.trace(net), x, torch.tensor([0, 1]), Linf(0.1), activations=found)
    torch.testing.assert_close(found[1].center, net.first(found[0].center))
    assert len(found) == 2


def relu_method(h):
    return h.relu()


def test_what_it_trains_is_certified():
    data, net = squares(), plain_net()
    net[-1] = nn.Linear(64, 2)
    plan = MTLIBP(Linf(0.08), Recipe(epochs=6, batch_size=20, learning_rate=5e-3))
    fit(net, data, plan)
    x, y = data.batch(np.arange(200))
    assert IntervalBounds()(Classifier(net), x, y, Linf(0.08)).certified.double().mean() > 0.95
    moment = StepContext(99, 100, 0, 1, seed=0, ids=torch.arange(200))
    assert plan.objective()(net, x, y, moment).isfinite()
