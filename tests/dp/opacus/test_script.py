"""A script that was written for Opacus, and what else it may call."""

import os
import re
import runpy
import stat
from math import gcd
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import PrivacyError, SettingError, StorageError
from quintain.dp import PrivacyEngine, epsilon
from quintain.dp.opacus.grad_sample import GradSampleModule
from quintain.dp.opacus.schedulers import ExponentialNoise
from quintain.dp.opacus.utils.fast_gradient_clipping_utils import CheckedCriterion
from quintain.dp.opacus.validators import ModuleValidator, errors

SCRIPT = """
import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from opacus import PrivacyEngine
from opacus.utils.batch_memory_manager import BatchMemoryManager
from opacus.validators import ModuleValidator
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
labels = torch.arange(96) % 3
images = torch.rand(96, 1, 12, 12) * 0.2 + labels.view(-1, 1, 1, 1) / 3
train = DataLoader(TensorDataset(images, labels), batch_size=32, shuffle=True)


class SampleConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 4, 2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, 1)
        self.fc1 = nn.Linear(8 * 4 * 4, 16)
        self.fc2 = nn.Linear(16, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv1(x)))
        x = torch.relu(self.conv2(x)).flatten(1)
        return self.fc2(torch.relu(self.fc1(x)))


model = ModuleValidator.fix(SampleConvNet())
assert not ModuleValidator.validate(model, strict=False)
optimizer = optim.SGD(model.parameters(), lr=1.0, momentum=0)
privacy_engine = PrivacyEngine(secure_mode=False)
model, optimizer, train = privacy_engine.make_private(
    module=model,
    optimizer=optimizer,
    data_loader=train,
    noise_multiplier=0.6,
    max_grad_norm=1.0,
    clipping="flat",
    grad_sample_mode="hooks",
)
criterion = nn.CrossEntropyLoss()
for epoch in range(1, 4):
    model.train()
    losses = []
    with BatchMemoryManager(
        data_loader=train, max_physical_batch_size=16, optimizer=optimizer
    ) as memory_safe:
        for data, target in memory_safe:
            optimizer.zero_grad()
            loss = criterion(model(data), target)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    print(
        f"Train Epoch: {epoch} Loss: {np.mean(losses):.6f} "
        f"(eps = {privacy_engine.get_epsilon(1e-3):.2f}, delta = 1e-3)"
    )
model.eval()
with torch.no_grad():
    print("accuracy", (model(images).argmax(1) == labels).float().mean().item())
torch.save(model.state_dict(), "model.pt")
"""


def test_a_script_runs_with_its_import_lines_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = re.sub(r"^from opacus(?=[. ])", "from quintain.dp.opacus", SCRIPT, flags=re.MULTILINE)
    assert "from opacus" not in script
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path("script.py", run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert [line[:14] for line in lines[:3]] == ["Train Epoch: 1", "Train Epoch: 2", "Train Epoch: 3"]
    assert f"(eps = {epsilon(0.6, 1 / 3, 9, 1e-3):.2f}, delta = 1e-3)" in lines[2]
    assert all(name.startswith("_module.") for name in torch.load(tmp_path / "model.pt", weights_only=True))


class Net(nn.Module):
    """A net with every norm that cannot be private."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 48, 3),
            nn.BatchNorm2d(48),
            nn.InstanceNorm2d(48, affine=True, track_running_stats=True),
        )
        self.rnn, self.attention = (
            nn.LSTM(48, 4, batch_first=True),
            nn.MultiheadAttention(4, 2, batch_first=True),
        )
        self.norm, self.last = nn.BatchNorm1d(4, affine=False), nn.Linear(4, 2)


def test_what_cannot_be_private_is_named_and_replaced() -> None:
    net = Net()
    found = ModuleValidator.validate(net)
    assert [type(error) for error in found] == [
        errors.ShouldReplaceModuleError,
        errors.IllegalModuleConfigurationError,
        errors.ShouldReplaceModuleError,
    ]
    with pytest.raises(
        errors.UnsupportedModuleError, match=r"'body\.1' is a BatchNorm2d.*; .*'norm' is a BatchNorm1d"
    ):
        ModuleValidator.validate(net, strict=True)
    with pytest.raises(ValueError, match="BatchNorm2d"):
        PrivacyEngine().validate(module=net, optimizer=None, data_loader=None)
    assert not PrivacyEngine().is_compatible(module=net, optimizer=None, data_loader=None)
    fixed = PrivacyEngine.get_compatible_module(net)
    assert ModuleValidator.is_valid(fixed)
    assert PrivacyEngine().is_compatible(module=fixed, optimizer=None, data_loader=None)
    assert (type(fixed.body[1]), fixed.body[1].num_groups) == (nn.GroupNorm, gcd(32, 48))
    assert fixed.body[2].running_mean is None
    assert (type(fixed.norm), fixed.norm.affine, fixed.norm.num_groups) == (nn.GroupNorm, False, 4)
    assert (type(fixed.rnn), type(fixed.attention)) == (nn.LSTM, nn.MultiheadAttention)
    assert isinstance(net.body[1], nn.BatchNorm2d)
    assert ModuleValidator.fix(net, num_groups=8).body[1].num_groups == 8
    instance = ModuleValidator.fix(net, replace_bn_with_in=True)
    assert (type(instance.body[1]), type(instance.norm)) == (nn.InstanceNorm2d, nn.InstanceNorm1d)
    assert [type(error) for error in ModuleValidator.validate(fixed.eval())] == [
        errors.IllegalModuleConfigurationError
    ]
    assert type(ModuleValidator.fix(nn.BatchNorm3d(6))) is nn.GroupNorm
    with pytest.raises(SettingError, match="num_groups = 0; expected at least 1"):
        ModuleValidator.fix(net, num_groups=0)
    with pytest.raises(errors.UnsupportableModuleError, match="SyncBatchNorm"):
        ModuleValidator.fix(nn.Sequential(nn.SyncBatchNorm(4)), replace_bn_with_in=True)


def test_a_norm_under_several_names_is_replaced_once_under_each() -> None:
    shared = nn.BatchNorm1d(4)
    net = nn.Sequential(nn.Linear(4, 4), shared, nn.Sequential(nn.Linear(4, 4), shared), shared)
    fixed = ModuleValidator.fix_and_validate(net)
    assert isinstance(fixed[1], nn.GroupNorm)
    assert fixed[1] is fixed[2][1] is fixed[3]


def test_a_checkpoint_goes_on_where_it_stopped(private, tmp_path: Path) -> None:
    path = tmp_path / "run.pt"

    def run(epochs: int, load: bool = False):
        torch.manual_seed(0)
        net, optimizer, loader, engine = private(batch=10, noise_multiplier=2.0, wrap_model=True)
        noise = ExponentialNoise(optimizer, gamma=0.9)
        parts = {"path": path, "module": net, "optimizer": optimizer, "noise_scheduler": noise}
        if load:
            assert engine.load_checkpoint(**parts)["note"] == "kept"
        for _ in range(epochs):
            for x, y in loader:
                optimizer.zero_grad()
                F.cross_entropy(net(x), y).backward()
                optimizer.step()
            noise.step()
        engine.save_checkpoint(**parts, checkpoint_dict={"note": "kept"})
        return net.state_dict(), engine.get_epsilon(1e-2), optimizer.noise_multiplier

    whole, _, halves = run(2), run(1), run(1, load=True)
    assert all(torch.equal(whole[0][name], halves[0][name]) for name in whole[0])
    assert whole[1:] == halves[1:]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    net, optimizer, _, engine = private(wrap_model=True)
    with pytest.raises(PrivacyError, match="both or none"):
        engine.load_checkpoint(path=path, module=net)
    with pytest.raises(SettingError, match="map_location alone"):
        engine.load_checkpoint(
            path=path, module=net, optimizer=optimizer, torch_load_kwargs={"weights_only": False}
        )
    assert engine.ledger.steps == 0


def test_a_file_that_forgets_or_runs_code_is_refused(private, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "evil"),))

    net, _, _, engine = private(wrap_model=True)
    forgetful, evil = tmp_path / "forgetful.pt", tmp_path / "evil.pt"
    torch.save({"module_state_dict": net.state_dict()}, forgetful)
    torch.save({"module_state_dict": Evil(), "privacy_accountant_state_dict": {}}, evil)
    with pytest.raises(PrivacyError, match="does not say what was spent"):
        engine.load_checkpoint(path=forgetful, module=net)
    with pytest.raises(PrivacyError, match="UnpicklingError"):
        engine.load_checkpoint(path=evil, module=net)
    assert not (tmp_path / "evil").exists()
    with pytest.raises(StorageError, match="cannot read"):
        engine.load_checkpoint(path=tmp_path / "absent.pt", module=net)


@pytest.mark.filterwarnings("ignore:accountant")
@pytest.mark.parametrize("name", ["pld", "rdp", "prv", "gdp"])
def test_each_accountant_reads_the_ledger(blobs, name: str) -> None:
    net = nn.Linear(6, 2)
    engine = PrivacyEngine(accountant=name, seed=0)
    made = engine.make_private_with_epsilon(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        data_loader=DataLoader(TensorDataset(*blobs), batch_size=10),
        target_epsilon=2.0,
        target_delta=1e-3,
        epochs=2,
        epsilon_tolerance=0.01,
        max_grad_norm=1.0,
    )
    model, optimizer, loader = made
    assert isinstance(model, GradSampleModule)
    for _ in range(2):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    assert 1.9 < engine.get_epsilon(1e-3) <= 2.0
    assert engine.get_epsilon(1e-3) >= epsilon(optimizer.noise_multiplier, 0.25, 8, 1e-3) * (1 - 1e-3)
    assert engine.accountant.history == [(optimizer.noise_multiplier, 0.25, 8)]
    assert (len(engine.accountant), engine.accountant.mechanism(), engine.report.accountant) == (
        1,
        name,
        name,
    )
    with pytest.raises(PrivacyError, match="count twice"):
        engine.accountant.step(noise_multiplier=1.0, sample_rate=0.1)
    other = PrivacyEngine(accountant=name, seed=0)
    other.accountant.load_state_dict(engine.accountant.state_dict())
    assert other.get_epsilon(1e-3) == engine.get_epsilon(1e-3)
    with pytest.raises(PrivacyError, match="without a ledger"):
        other.accountant.load_state_dict({"history": [], "mechanism": name})


def test_a_noise_generator_repeats_the_noise_and_is_recorded(private) -> None:
    def end(seed: int) -> torch.Tensor:
        torch.manual_seed(0)
        net, optimizer, loader, engine = private(
            batch=40, seed=None, noise_generator=torch.Generator().manual_seed(seed)
        )
        for x, y in loader:
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
        assert engine.reproducible
        assert engine.report.runs[0].noise == "AES-256-CTR keyed by a torch.Generator"
        assert engine.ledger.releases[0].reproducible
        return net[0].weight.detach()

    assert torch.equal(end(1), end(1))
    assert not torch.equal(end(1), end(2))


def test_secure_mode_takes_no_seed_and_draws_on_a_grid(blobs) -> None:
    with pytest.raises(SettingError, match="seed in secure mode"):
        PrivacyEngine(secure_mode=True, seed=0)
    net = nn.Linear(6, 2)
    settings = {
        "module": net,
        "optimizer": torch.optim.SGD(net.parameters(), lr=0.1),
        "data_loader": DataLoader(TensorDataset(*blobs), batch_size=20),
        "noise_multiplier": 2.0,
        "wrap_model": False,
    }
    with pytest.raises(SettingError, match="generator in secure mode"):
        PrivacyEngine(secure_mode=True).make_private(**settings, noise_generator=torch.Generator())
    for clipping in ("flat", "per_layer", "automatic", "adaptive"):
        engine = PrivacyEngine(secure_mode=True)
        extra = {"unclipped_num_std": 3.0} if clipping == "adaptive" else {}
        _, optimizer, loader = engine.make_private(**settings, clipping=clipping, **extra)
        for x, y in loader:
            F.cross_entropy(net(x), y).backward()
            optimizer.clip_and_accumulate()
            optimizer.add_noise()
            unit, grid = optimizer.private_step.sum.clipped.grid_step, optimizer.private_step.sum.clipped.flat
            optimizer.scale_grad()
            steps = torch.cat([p.grad.flatten() for p in net.parameters()]).double() * 20 / unit
            assert grid.dtype == torch.int64
            torch.testing.assert_close(steps, grid.double(), rtol=1e-6, atol=0)
            optimizer.original_optimizer.step()
            optimizer.zero_grad()
        assert [release.mechanism for release in engine.ledger.releases] == ["discrete gaussian"]
        assert (abs(optimizer.max_grad_norm - 1.0) > 1e-6) is (clipping == "adaptive")
        assert engine.report.secure_mode
        optimizer.capture.remove()


def test_shuffled_data_are_warned_of_and_cost_more(private) -> None:
    with pytest.warns(UserWarning, match="shuffled data cost many times"):
        net, optimizer, loader, engine = private(batch=10, noise_multiplier=2.0, poisson_sampling=False)
    for x, y in loader:
        assert len(x) == 10
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert engine.report.runs[0].sampling == "shuffle"
    assert engine.get_epsilon(1e-3) == pytest.approx(epsilon(2.0, 1.0, 1, 1e-3), rel=0.05)
    assert engine.get_epsilon(1e-3) > 1.5 * epsilon(2.0, 0.25, 4, 1e-3)


def test_the_wrapped_criterion_is_checked(private) -> None:
    plain = CheckedCriterion(nn.CrossEntropyLoss(), "mean")
    out, y = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
    assert torch.equal(plain(out, y), F.cross_entropy(out, y))
    tokens = plain(out, y, shape=(2, 3))
    torch.testing.assert_close(tokens, F.cross_entropy(out, y, reduction="none").view(2, 3).mean(1).mean())
    assert plain.criterion.reduction == "mean"
    with pytest.raises(SettingError, match="reduction = 'sum'"):
        CheckedCriterion(nn.CrossEntropyLoss(reduction="sum"), "mean")
    with pytest.raises(PrivacyError, match="class weights"):
        private(grad_sample_mode="ghost", criterion=nn.CrossEntropyLoss(torch.ones(2)))
