"""Almost orthogonal layers: never steeper than 1, and the same when folded into plain ones."""

import pytest
import torch
from torch import nn

from quintain.certify import Lipschitz, conv_norm_bound, largest_certified_radius, spectral_norm_bound
from quintain.core.errors import ModelError
from quintain.models import Classifier
from quintain.models.lipschitz_layers import AOLConv2d, AOLLinear, fold
from quintain.testing import random_inputs
from quintain.threats import L2


@pytest.mark.parametrize("settings", [(3, 1, 1), (4, 2, 1), (3, 2, 0), (2, 2, 0), (5, 3, 2)])
def test_a_convolution_is_never_steeper_than_one(settings):
    torch.manual_seed(0)
    layer = AOLConv2d(3, 5, *settings).double()
    with torch.no_grad():
        layer.weight.mul_(30)
    norm = conv_norm_bound(fold(layer), 9, 9)
    assert 0.3 < norm < 1.05  # the torus is a little larger than the image
    plain = nn.Conv2d(3, 5, *settings, bias=False).double()
    with torch.no_grad():
        plain.weight.copy_(layer.rescaled())
        matrix = plain(torch.eye(3 * 81).double().view(-1, 3, 9, 9)).flatten(1)
    assert float(torch.linalg.svdvals(matrix)[0]) <= 1 + 1e-12


def test_a_linear_layer_is_never_steeper_than_one_and_ignores_unread_inputs():
    torch.manual_seed(1)
    layer = AOLLinear(12, 7).double()
    with torch.no_grad():
        layer.weight[:, 3] = 0
        layer.weight[:, 4] *= 1e6
    assert 0.3 < float(spectral_norm_bound(fold(layer).weight.detach())) < 1.001


def test_a_folded_net_computes_the_same_and_is_certified_by_its_margins():
    torch.manual_seed(2)
    body = (AOLConv2d(1, 4, 2, 2), nn.ReLU(), nn.Sequential(nn.Flatten(), AOLLinear(64, 8)), nn.ReLU())
    net = nn.Sequential(*body, AOLLinear(8, 3, bias=False)).eval()
    x = random_inputs(10, 1, 8, 8, seed=0).float()
    before = net(x)
    assert sum(parameter.grad is None for parameter in net.parameters()) == 5
    before.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())
    folded = fold(net)
    assert not any(isinstance(layer, AOLLinear | AOLConv2d) for layer in folded.modules())
    assert torch.allclose(folded(x), before, atol=1e-6)
    model = Classifier(folded)
    y = model.predict(x)
    radius = largest_certified_radius(Lipschitz(), model, x, y, L2(0.01)).radius
    gap = before.gather(1, y[:, None]) - before.scatter(1, y[:, None], -torch.inf).amax(1, keepdim=True)
    assert (radius > 0.95 * gap[:, 0].detach() / 2**0.5 - 1e-3).all()  # of three 1-Lipschitz layers


def test_settings_without_a_rule_are_refused():
    with pytest.raises(ModelError, match="AOLConv2d with groups = 2"):
        AOLConv2d(2, 2, 3, groups=2)(torch.zeros(1, 2, 5, 5))
