"""Lipschitz training: its constants are close to the certified ones, and it earns certificates."""

import pytest
import torch
from torch import nn

from quintain.certify import Lipschitz
from quintain.certify.interval.graph import TracedNetwork
from quintain.certify.lipschitz.norms import conv_norm_bound, spectral_norm_bound
from quintain.certify.lipschitz.training import differentiable_margin_constants
from quintain.core.errors import SettingError
from quintain.data import from_arrays
from quintain.harden import LipschitzTraining, fit
from quintain.models import Classifier
from quintain.models.nets import initialize
from quintain.threats import L2, Linf
from quintain.training import Recipe


def a_net():
    layers = (nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2))
    return initialize(nn.Sequential(*layers), 0)


def test_estimates_lie_just_below_the_certified_constants_and_have_gradients():
    net = a_net().eval()
    found = differentiable_margin_constants(TracedNetwork.trace(net), torch.zeros(1, 1, 8, 8))
    exact = conv_norm_bound(net[0], 8, 8) * float(spectral_norm_bound(net[3].weight.detach()))
    exact *= float((net[5].weight[0] - net[5].weight[1]).detach().norm())
    assert found.shape == (2, 2)
    assert 0.7 * exact < float(found[0, 1].detach()) <= exact
    assert float(found[0, 0].detach()) == 0
    gradients = torch.autograd.grad(found.sum(), [layer.weight for layer in (net[0], net[3], net[5])])
    assert all(gradient.isfinite().all() and gradient.abs().sum() > 0 for gradient in gradients)


def test_a_net_is_certified_that_was_trained_for_it():
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(120) % 2
    x = (0.35 + 0.3 * y[:, None, None, None] + 0.3 * (torch.rand(120, 1, 8, 8, generator=rng) - 0.5)).clamp(
        0, 1
    )
    data, threat, certified = from_arrays(x.numpy(), y.numpy()), L2(0.4), []
    for ratio in (1e-6, 1.2):
        net = a_net()
        recipe = Recipe(epochs=20, batch_size=40, learning_rate=1e-2)
        fit(net, data, LipschitzTraining(threat, recipe, train_eps_ratio=ratio))
        model = Classifier(net, num_classes=2)
        certified.append(Lipschitz()(model, *data.batch(range(120)), threat).certified.float().mean())
    assert certified[1] > 0.9
    assert certified[1] > certified[0]


def test_what_is_out_of_range_is_refused():
    with pytest.raises(SettingError, match="of L2"):
        LipschitzTraining(Linf(0.1))
    with pytest.raises(SettingError, match="positive ratio"):
        LipschitzTraining(L2(0.5), train_eps_ratio=0.0)
