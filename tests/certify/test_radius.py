import itertools

import pytest
import torch
from torch import nn

from quintain.certify import IntervalBounds, largest_radius
from quintain.core.errors import SettingError
from quintain.models import Classifier
from quintain.threats import L2, Linf
from tests.certify.random_nets import inputs, random_net


def test_radii_of_a_linear_model_are_its_margins_over_the_dual_norm():
    model, x = Classifier(random_net("linear", 5)), torch.full((6, 2, 5, 5), 0.5) + 0.05 * torch.randn(6, 2, 5, 5)
    y = model.predict(x)
    weight = model.net[1].weight.double()
    lead = weight[y][:, None] - weight
    value = (lead @ x.double().flatten(1)[:, :, None])[:, :, 0]
    for threat, dual in ((Linf(0.01), 1), (L2(0.05), 2)):
        exact = (value / lead.norm(dual, dim=2)).nan_to_num(torch.inf).amin(1)
        found = largest_radius(IntervalBounds(), model, x, y, threat)
        assert (found <= exact).all()
        inside = exact < 0.3
        assert (found >= 0.99 * exact - 1e-4)[inside].all()


@pytest.mark.parametrize("threat", [Linf(0.01), L2(0.05), Linf(0.0)])
def test_a_radius_reaches_the_threat_exactly_where_it_is_certified(threat):
    model, x = Classifier(random_net("dense", 7)), inputs(7, 24)
    y = model.predict(x)
    certified = IntervalBounds()(model, x, y, threat).certified
    radius = largest_radius(IntervalBounds(), model, x, y, threat, steps=6)
    assert torch.equal(radius >= threat.eps, certified | torch.tensor(threat.eps == 0))
    assert IntervalBounds()(model, x, y, threat, eps=radius).certified[radius > 0].all()


def test_a_wrong_example_has_no_radius():
    model, x = Classifier(random_net("dense", 8)), inputs(8)
    wrong = (model.predict(x) + 1) % 3
    assert largest_radius(IntervalBounds(), model, x, wrong, Linf(0.01), steps=4).eq(0).all()


def test_a_constant_model_reaches_the_end_of_the_box():
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([1.0, 0.0]))
    radius = largest_radius(IntervalBounds(), Classifier(layer.eval()), torch.rand(3, 2), torch.zeros(3, dtype=torch.long), Linf(0.01))
    assert (radius > 0.99).all()
    assert (radius <= 1).all()


def test_more_steps_never_prove_less():
    model, x = Classifier(random_net("dense", 9)), inputs(9)
    y = model.predict(x)
    radii = [largest_radius(IntervalBounds(), model, x, y, Linf(0.005), steps=steps) for steps in (0, 3, 6, 12)]
    assert all((more >= less).all() for less, more in itertools.pairwise(radii))


def test_negative_steps_are_refused():
    with pytest.raises(SettingError, match="steps"):
        largest_radius(
            IntervalBounds(), Classifier(nn.Linear(2, 2).eval()), torch.rand(1, 2), torch.zeros(1, dtype=torch.long), Linf(0.1), steps=-1
        )
