"""The laws on an accelerator of this machine, such as ``QUINTAIN_TEST_DEVICE=cuda pytest tests/laws``.

Results there are not those of the CPU bit for bit, so that each is held to what makes it one.
"""

import os

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.registry import declared_entries
from quintain.dp import PrivacySettings, make_private
from quintain.dp.specimens import EveryLayer
from quintain.harden import fit
from quintain.models import Classifier
from quintain.models.devices import choose_device
from quintain.testing import (
    check_never_worse,
    check_points_allowed,
    check_replayable,
    law_threat,
    random_inputs,
)
from quintain.testing.certifier_laws import BALLS, certified_radii
from quintain.testing.closed_forms import half_space
from quintain.testing.device_laws import device_task
from tests.laws.attack_pairs import PAIRS, attack_of
from tests.laws.test_accelerators import a_net, some_data
from tests.laws.test_defenses import DEFENSES, defense_of

NAME = os.environ.get("QUINTAIN_TEST_DEVICE", "")
pytestmark = pytest.mark.skipif(not NAME, reason="QUINTAIN_TEST_DEVICE names no device")


@pytest.fixture
def device() -> torch.device:
    return choose_device(NAME)


@pytest.mark.parametrize(("attack_name", "ball_name"), PAIRS)
def test_an_outcome_is_allowed_replayable_and_never_worse(attack_name, ball_name, device):
    net, x, y = device_task()
    net, x, y, threat = net.to(device), x.to(device), y.to(device), law_threat(ball_name)
    outcome = attack_of(attack_name)(net, x, y, threat, seed=4)
    assert outcome.adversarial.device == device
    check_points_allowed(outcome, x, threat)
    check_replayable(outcome, net, x, y, threat)
    check_never_worse(outcome, net, x, y)


@pytest.mark.parametrize("name", sorted(declared_entries("certifier")))
def test_no_certified_radius_is_above_the_exact_one(name, device):
    space = half_space()
    certifier = declared_entries("certifier")[name].build(sigma=0.25)
    kind = next(kind for kind in ("linf", "l2") if kind in certifier.supports and kind in BALLS)
    model = Classifier(space.model.net.to(device), num_classes=2)
    radii = certified_radii(certifier, model, space.x.to(device), space.y.to(device), kind=kind)
    assert radii.device == device
    assert (radii.cpu() <= space.distance(kind)).all()
    assert (radii > 0).any()


@pytest.mark.parametrize("name", sorted(DEFENSES))
def test_a_defense_trains(name, device):
    assert len(fit(a_net().to(device), some_data(), defense_of(name), seed=1).losses) == 1


def test_every_layer_with_a_rule_takes_private_steps(device):
    net = EveryLayer(0, 10.0).to(device)
    records = TensorDataset(random_inputs(6, 64, seed=5), torch.arange(6) % 3)
    optimizer, loader = torch.optim.SGD(net.parameters(), lr=0.1), DataLoader(records, batch_size=3)
    private = make_private(net, optimizer, loader, PrivacySettings(noise_multiplier=1.0))
    before = [parameter.detach().clone() for parameter in net.parameters()]
    for x, y in private.loader:
        private.optimizer.zero_grad()
        nn.functional.cross_entropy(net(x.to(device)), y.to(device)).backward()
        private.optimizer.step()
    assert not any(torch.equal(one, other) for one, other in zip(net.parameters(), before, strict=True))
