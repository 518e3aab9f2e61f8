"""The laws of certifiers, over everything registered."""

import math

import pytest
import torch
from torch import nn

from quintain.core.registry import entries
from quintain.models import Classifier
from tests.laws.checks_certify import halfspace, radii, require_at_most_exact

pytestmark = pytest.mark.rounding

NAMES = sorted(entries("certifier"))


@pytest.mark.parametrize("name", NAMES)
def test_a_certifier_says_what_it_guarantees_and_can_be_imported(name):
    entry = entries("certifier")[name]
    assert callable(entry.load())
    assert entry.guarantee
    assert "l2" in entry.words("supports")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_certified_is_at_most_what_is_true(name):
    require_at_most_exact(lambda model, x, y: radii(name, model, x, y))


@pytest.mark.parametrize("name", NAMES)
def test_a_halfspace_is_certified_up_to_a_tenth_of_sigma(name):
    model, x, y, exact = halfspace()
    found = radii(name, model, x, y)
    assert (found > 0.8 * exact - 0.02).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_example_is_not_certified(name):
    model, x, y, _ = halfspace()
    assert radii(name, model, x, 1 - y).eq(0).all()


@pytest.mark.parametrize("name", NAMES)
def test_each_example_is_certified_by_itself(name):
    model, x, y, _ = halfspace()
    whole = radii(name, model, x, y)
    assert torch.equal(radii(name, model, x[:2], y[:2]), whole[:2])


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_left_as_it_was(name):
    model, x, y, _ = halfspace()
    before = model.hash
    radii(name, model, x, y)
    assert model.hash == before
    assert all(parameter.grad is None for parameter in model.net.parameters())
    assert not any(module.training for module in model.net.modules())


@pytest.mark.parametrize("name", NAMES)
def test_nan_proves_nothing(name):
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2)).eval()
    with torch.no_grad():
        net[1].weight.fill_(math.nan)
    assert radii(name, Classifier(net), torch.rand(3, 2), torch.zeros(3, dtype=torch.long)).eq(0).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_global_generator_is_left_alone(name):
    model, x, y, _ = halfspace()
    state = torch.random.get_rng_state()
    radii(name, model, x, y)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_exemptions_are_these():
    assert {name: entry.exemptions for name, entry in entries("certifier").items() if entry.exemptions} == {}
