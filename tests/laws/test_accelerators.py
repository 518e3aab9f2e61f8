"""Every certifier, defense, reconstruction and private step on an accelerator: as on the CPU, bit for bit.

The accelerator is a fake one that refuses to be mixed with the CPU; attacks are held to the same by their
laws.
"""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.certify import largest_certified_radius, rounding
from quintain.core.registry import declared_entries
from quintain.data import from_arrays
from quintain.data.dataset import Dataset
from quintain.dp import (
    AutomaticClipping,
    FlatClipping,
    PerLayerClipping,
    PrivacyEngine,
    PrivacySettings,
    PrivatePlan,
    RandomSource,
    make_private,
)
from quintain.dp import fit as fit_privately
from quintain.dp.specimens import EveryLayer
from quintain.evaluate.steps.harden import with_epochs
from quintain.federated import FederatedConfig, partition, simulate
from quintain.harden import fit
from quintain.leakage import Candidates, Knowledge
from quintain.leakage.update_view import UpdateView
from quintain.models import Classifier
from quintain.testing import FakeDeviceTensor, fake_device, on_device, random_inputs
from quintain.threats import L2, Linf, Patch, parse
from quintain.training import Recipe

CPU = torch.device("cpu")
CERTIFIERS, DEFENSES = declared_entries("certifier"), declared_entries("defense")
LEAKS = declared_entries("leak")
RECONSTRUCTIONS = [name for name, entry in LEAKS.items() if entry.fact("access") == "update"]


def a_net(*, convolves: bool = False, drops: bool = False) -> nn.Module:
    """A small float32 net of three classes for inputs (B, 1, 4, 4), always with the same weights."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        front = (nn.Conv2d(1, 3, 2), nn.GroupNorm(1, 3)) if convolves else ()
        back = (nn.Linear(27 if convolves else 16, 8), nn.ReLU(), nn.Linear(8, 3))
        return nn.Sequential(*front, nn.Flatten(), *(nn.Dropout(0.3) for _ in range(drops)), *back)


def some_data(count: int = 40) -> Dataset:
    labels = torch.arange(count).remainder(3).numpy()
    return from_arrays(random_inputs(count, 4, 4, seed=2).float().numpy(), labels)


def weights(net: nn.Module) -> list[Tensor]:
    return [parameter.detach().cpu() for parameter in net.parameters()]


def same_on_both(trained: Callable[[torch.device], nn.Module]) -> None:
    """A training ends with the same weights on the CPU and on an accelerator, and leaves them there."""
    wanted = weights(trained(CPU))
    with fake_device() as device:
        net = on_device(trained, device)
        assert {parameter.device for parameter in net.parameters()} == {device}
        found = weights(net)
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("name", sorted(CERTIFIERS))
def test_a_certifier_proves_the_same(name, monkeypatch):
    # What bounds layers by rule refuses classes of tensors that it does not know.
    monkeypatch.setattr(rounding, "PLAIN_TYPES", (*rounding.PLAIN_TYPES, FakeDeviceTensor))
    net, x = a_net().eval(), random_inputs(6, 1, 4, 4, seed=3).float()
    y = net(x).argmax(1)
    certifier = CERTIFIERS[name].build(sigma=0.25, max_bounds=2)

    def radii(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        model = Classifier(net, num_classes=3)
        if CERTIFIERS[name].fact("subject") == "smoothed":
            return certifier.derive(model).certify(x, y, seed=3).radius
        if CERTIFIERS[name].fact("subject") == "ablated":
            return replace(certifier, band_width=1).derive(model).certify(x, y, Patch(1 / 16)).margin
        ball = Linf(0.1) if "linf" in CERTIFIERS[name].words("supports") else L2(0.1)
        if CERTIFIERS[name].fact("cost") == "expensive":
            return certifier(model, x, y, ball).margin
        return largest_certified_radius(certifier, model, x, y, ball).radius

    wanted = radii(net, x, y)
    assert (wanted > 0).any()
    with fake_device() as device:
        moved = copy.deepcopy(net).to(device)
        there, apart = on_device(radii, moved, x.to(device), y.to(device)), on_device(radii, moved, x, y)
        assert (there.device, apart.device) == (device, CPU)
        assert torch.equal(there.cpu(), wanted)
        assert torch.equal(apart, wanted)


@pytest.mark.parametrize("name", sorted(DEFENSES))
def test_a_defense_trains_the_same(name):
    entry = DEFENSES[name]
    defense = with_epochs(entry.build(threat=parse(entry.fact("example")), sigma=0.25), 1)

    def trained(device: torch.device) -> nn.Module:
        net = a_net().to(device)
        fit(net, some_data(), defense, seed=1)
        return net

    same_on_both(trained)


@pytest.mark.parametrize("name", RECONSTRUCTIONS)
def test_a_reconstruction_is_the_same(name):
    net, attack = a_net().eval(), LEAKS[name].build(steps=5)
    x, y = random_inputs(1, 1, 4, 4, seed=3).float(), torch.tensor([1])
    loss = nn.functional.cross_entropy(net(x), y)
    update = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(net.parameters()))])
    candidates = Candidates(y=y, ids=torch.arange(1), shape=(1, 4, 4))

    def images(of: nn.Module, sent: Tensor) -> Tensor:
        view = UpdateView(of, lambda _net: sent)
        return attack.guess(view, Knowledge(), candidates, budget=1, seed=3).images

    wanted = images(net, update)
    with fake_device() as device:
        moved = copy.deepcopy(net).to(device)
        for sent in (update, update.to(device)):
            found = on_device(images, moved, sent)
            assert torch.equal(found.cpu(), wanted)


def records(count: int = 20, *, wide: bool = False) -> TensorDataset:
    x = random_inputs(count, 64, seed=5) if wide else random_inputs(count, 1, 4, 4, seed=5).float()
    return TensorDataset(x, torch.arange(count) % 3)


CLIPPINGS = {
    "flat": {"clipping": FlatClipping(1.0)},
    "automatic": {"clipping": AutomaticClipping(1.0)},
    "per layer": {"clipping": PerLayerClipping((0.5,) * 8)},
    "in pieces": {"max_physical_batch_size": 3},
}


@pytest.mark.parametrize("name", CLIPPINGS)
def test_private_steps_are_the_same(name):
    def trained(device: torch.device) -> nn.Module:
        net = a_net(convolves=True).to(device)
        private = make_private(
            net,
            torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.5),
            DataLoader(records(), batch_size=8),
            PrivacySettings(noise_multiplier=1.0, **CLIPPINGS[name]),
            random=RandomSource.from_seed(3),
        )
        for x, y in private.loader:
            private.optimizer.zero_grad()
            nn.functional.cross_entropy(net(x.to(device)), y.to(device)).backward()
            private.optimizer.step()
        assert "epsilon" in str(private.report)
        return private.detach()

    same_on_both(trained)


def test_every_layer_with_a_rule_is_trained_the_same():
    def trained(device: torch.device) -> nn.Module:
        net = EveryLayer(0, 10.0).to(device)
        private = make_private(
            net,
            torch.optim.SGD(net.parameters(), lr=0.1),
            DataLoader(records(3, wide=True), batch_size=3),
            PrivacySettings(noise_multiplier=1.0),
            random=RandomSource.from_seed(3),
        )
        for x, y in private.loader:
            private.optimizer.zero_grad()
            nn.functional.cross_entropy(net(x.to(device)), y.to(device)).backward()
            private.optimizer.step()
        return private.detach()

    same_on_both(trained)


def test_noise_on_a_grid_is_added_where_the_weights_are():
    with fake_device() as device:
        net = a_net().to(device)
        private = make_private(
            net,
            torch.optim.SGD(net.parameters(), lr=0.1),
            DataLoader(records(), batch_size=8),
            PrivacySettings(noise_multiplier=1.0, mechanism="discrete-gaussian"),
        )
        before = weights(net)
        for x, y in private.loader:
            nn.functional.cross_entropy(net(x.to(device)), y.to(device)).backward()
            on_device(private.optimizer.step)
        assert not torch.equal(weights(net)[0], before[0])


ENGINE = {
    "hooks": {},
    "ghost": {"grad_sample_mode": "ghost"},
    "functorch": {"grad_sample_mode": "functorch"},
    "per layer": {"clipping": "per_layer", "max_grad_norm": [1.0] * 4},
    "adaptive": {
        "clipping": "adaptive",
        "target_unclipped_quantile": 0.5,
        "clipbound_learning_rate": 0.2,
        "max_clipbound": 10.0,
        "min_clipbound": 0.1,
        "unclipped_num_std": 1.0,
    },
}


@pytest.mark.parametrize("name", ENGINE)
def test_the_privacy_engine_trains_the_same(name):
    def trained(device: torch.device) -> nn.Module:
        net, criterion = a_net().to(device), nn.CrossEntropyLoss()
        settings = {"max_grad_norm": 1.0, "noise_multiplier": 1.0, **ENGINE[name]}
        model, optimizer, *rest = PrivacyEngine(seed=1).make_private(
            module=net,
            optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
            data_loader=DataLoader(records(), batch_size=8),
            criterion=criterion,
            **settings,
        )
        criterion = rest[0] if len(rest) == 2 else criterion
        for x, y in rest[-1]:
            optimizer.zero_grad()
            criterion(model(x.to(device)), y.to(device)).backward()
            optimizer.step()
        return net

    same_on_both(trained)


def test_a_private_plan_is_carried_out_the_same():
    plan = PrivatePlan(1.0, 1.0, expected_batch_size=8, steps=3, learning_rate=1.0)

    def trained(device: torch.device) -> nn.Module:
        net = a_net(drops=True).to(device)
        fit_privately(net, some_data(), plan, seed=3)
        return net

    same_on_both(trained)


def test_sites_train_the_same_together():
    local = Recipe(epochs=1, batch_size=16, learning_rate=1e-2, schedule="constant")

    def trained(device: torch.device) -> nn.Module:
        net = a_net().to(device)
        sites = partition(some_data(200), 3, alpha=1.0, seed=1).sites
        simulate(sites, net, FederatedConfig(2, local), seed=1)
        return net

    same_on_both(trained)


def test_a_defense_with_a_tensor_on_the_cpu_is_caught(monkeypatch):
    step = Linf.steepest_step
    monkeypatch.setattr(
        Linf, "steepest_step", lambda ball, gradient, size: step(ball, gradient, size) + torch.zeros(4)
    )
    with pytest.raises(AssertionError, match=r"expected tensors of one device.*\(4,\)"):
        test_a_defense_trains_the_same("pgd-at")
