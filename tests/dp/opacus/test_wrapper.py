"""The wrapped module and the private optimizer by the names that scripts know."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp import PrivacyEngine, rules
from quintain.dp.opacus.grad_sample import GradSampleModule, register_grad_sampler
from quintain.dp.opacus.optimizers.optimizer import DPOptimizer


def classifier() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)).double()


def singles(net: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
    """The gradients of single examples, one by one."""
    rows = [
        torch.autograd.grad(F.cross_entropy(net(a[None]), b[None]), list(net.parameters()))
        for a, b in zip(x, y, strict=True)
    ]
    return [torch.stack(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_grad_sample_is_the_gradient_of_each_example(blobs, reduction: str) -> None:
    x, y = blobs[0][:7].double(), blobs[1][:7]
    net = classifier()
    expected = singles(net, x, y)
    model = GradSampleModule(net, loss_reduction=reduction)
    F.cross_entropy(model(x), y, reduction=reduction).backward()
    for parameter, rows in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad_sample, rows, rtol=0, atol=1e-9)
    F.cross_entropy(model(x), y, reduction=reduction).backward()
    assert [len(parameter.grad_sample) for parameter in model.parameters()] == [2] * 4
    for parameter, rows in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad_sample[1], rows, rtol=0, atol=1e-9)
    model.zero_grad()
    assert all(parameter.grad_sample is None for parameter in model.parameters())
    assert model.to_standard_module() is net
    assert not any(hasattr(parameter, "grad_sample") for parameter in net.parameters())
    F.cross_entropy(net(x), y).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_the_wrapper_is_thin(private, blobs) -> None:
    net = nn.Sequential(nn.Linear(6, 2))
    net.config = {"name": "small"}
    model, optimizer, loader, _ = private(net, wrap_model=True)
    assert isinstance(model, GradSampleModule)
    assert model._module is net
    assert model.config == {"name": "small"}
    assert list(model.state_dict()) == ["_module.0.weight", "_module.0.bias"]
    assert model[0] is net[0]
    assert list(model) == list(net)
    assert [name for name, _ in model.named_parameters()] == ["_module.0.weight", "_module.0.bias"]
    model.eval()
    assert not net.training
    model.train()
    twin = copy.deepcopy(model)
    F.cross_entropy(twin(blobs[0]), blobs[1]).backward()
    assert twin.capture is None
    assert twin[0].weight.grad is not None
    model.load_state_dict(twin.state_dict())
    rows, labels = next(iter(loader))
    F.cross_entropy(model(rows), labels).backward()
    optimizer.step()
    with pytest.raises(AttributeError, match="nonsense"):
        _ = model.nonsense
    model.extra = nn.Linear(2, 2)
    assert net.extra is model.extra
    with pytest.raises(PrivacyError, match="make_private again"):
        model(rows)


def test_hooks_go_off_and_on(private, blobs) -> None:
    model, optimizer, loader, engine = private(wrap_model=True, batch=20)
    rows, labels = next(iter(loader))
    assert model.hooks_enabled
    model.disable_hooks()
    F.cross_entropy(model(rows), labels).backward()
    assert model[0].weight.grad is not None
    with pytest.raises(PrivacyError, match="plain gradient"):
        optimizer.step()
    optimizer.zero_grad()
    model.enable_hooks()
    F.cross_entropy(model(rows), labels).backward()
    optimizer.step()
    model.remove_hooks()
    assert not model.hooks_enabled
    with pytest.raises(PrivacyError, match="hooks are off"):
        model.enable_hooks()
    with pytest.raises(PrivacyError, match="without captured gradients"):
        optimizer.step()
    assert engine.ledger.steps == 1


@pytest.mark.parametrize("mode", ["hooks", "functorch", "ew", "auto", "ghost"])
def test_each_mode_trains_alike_and_shows_what_was_asked_for(blobs, mode: str) -> None:
    ends = []
    for asked in ("auto", mode):
        net = classifier()
        made = PrivacyEngine(seed=0).make_private(
            module=net,
            optimizer=torch.optim.SGD(net.parameters(), lr=0.5),
            data_loader=DataLoader(TensorDataset(blobs[0].double(), blobs[1]), batch_size=20),
            grad_sample_mode=asked,
            max_grad_norm=0.1,
        )
        assert len(made) == (4 if asked == "ghost" else 3)
        model, optimizer, loader = made[0], made[1], made[-1]
        criterion = made[2] if asked == "ghost" else F.cross_entropy
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            shown = [getattr(parameter, "grad_sample", None) for parameter in net.parameters()]
            if asked in ("hooks", "functorch", "ew"):
                assert [rows.shape for rows in shown] == [
                    (len(x), *parameter.shape) for parameter in net.parameters()
                ]
                assert all(
                    torch.equal(rows, mine) for rows, mine in zip(shown, optimizer.grad_samples, strict=True)
                )
            else:
                assert shown == [None] * 4
            optimizer.step()
        ends.append(net[0].weight.detach())
    torch.testing.assert_close(*ends, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["ghost_fsdp", "ghost_tp", "no_op", "nonsense"])
def test_modes_that_are_not_here_are_refused(private, mode: str) -> None:
    with pytest.raises(SettingError, match="expected auto, hooks, functorch, ew or ghost"):
        private(grad_sample_mode=mode)


@pytest.mark.parametrize("how", ["in place", "replaced"])
def test_a_grad_sample_that_is_edited_is_refused(private, how: str) -> None:
    net, optimizer, loader, engine = private(grad_sample_mode="hooks")
    rows, labels = next(iter(loader))
    F.cross_entropy(net(rows), labels).backward()
    if how == "in place":
        net[0].weight.grad_sample.mul_(100)
    else:
        net[0].weight.grad_sample = net[0].weight.grad_sample.clone()
    with pytest.raises(PrivacyError, match=r"grad_sample.*was changed"):
        optimizer.step()
    assert engine.ledger.steps == 0
    optimizer.zero_grad()
    F.cross_entropy(net(rows), labels).backward()
    optimizer.step()


def test_an_optimizer_on_its_own_clips_adds_noise_and_counts_each_step_as_one_on_all(blobs) -> None:
    x, y = blobs[0][:8].double(), blobs[1][:8]
    net = classifier()
    rows = torch.cat([gradient.flatten(1) for gradient in singles(net, x, y)], 1)
    expected = (rows * (0.3 / rows.norm(dim=1, keepdim=True)).clamp(max=1)).sum(0) / 8
    model = GradSampleModule(net)
    optimizer = DPOptimizer(
        torch.optim.SGD(model.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=0.3,
        expected_batch_size=8,
        loss_reduction="mean",
        generator=torch.Generator().manual_seed(1),
        secure_mode=False,
    )
    seen = []
    optimizer.attach_step_hook(lambda private: seen.append(private.accumulated_iterations))
    optimizer.attach_step_hook(lambda private: seen.append(private.noise_multiplier))
    for part in (slice(0, 3), slice(3, 8)):
        F.cross_entropy(model(x[part]), y[part]).backward()
    optimizer.step()
    got = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)
    assert seen == [1, 0.0]
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
    assert [
        (release.sample_rate, release.steps, release.sampling) for release in optimizer.ledger.releases
    ] == [(1.0, 2, "full batch")]
    assert (optimizer.expected_batch_size, optimizer.loss_reduction) == (8, "mean")
    assert optimizer.params == list(net.parameters())
    again = DPOptimizer(
        torch.optim.SGD(model.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=0.3,
        expected_batch_size=8,
    )
    again.load_state_dict(optimizer.state_dict())
    assert again.ledger.steps == 2
    again.zero_grad()
    F.cross_entropy(model(x), y).backward()
    again.step()
    assert again.ledger.steps == 3


def test_an_optimizer_on_its_own_steps_when_it_is_told(blobs) -> None:
    x, y = blobs[0][:8].double(), blobs[1][:8]
    ends = []
    for cuts in ([slice(0, 8)], [slice(0, 3), slice(3, 3), slice(3, 8)]):
        model = GradSampleModule(classifier())
        inner = torch.optim.SGD(model.parameters(), lr=1.0)
        optimizer = DPOptimizer(
            inner,
            noise_multiplier=1.0,
            max_grad_norm=0.3,
            expected_batch_size=8,
            generator=torch.Generator().manual_seed(1),
        )
        for cut in cuts:
            optimizer.signal_skip_step(cut is not cuts[-1])
            assert optimizer._check_skip_next_step(pop_next=False) is (cut is not cuts[-1])
            F.cross_entropy(model(x[cut]), y[cut]).backward()
            optimizer.step()
            optimizer.zero_grad()
        assert optimizer.ledger.steps == 1
        ends.append(model[0].weight.detach())
    torch.testing.assert_close(*ends, rtol=0, atol=1e-12)


def test_an_optimizer_needs_a_module_a_batch_and_no_seed_in_secure_mode() -> None:
    net = classifier()
    inner = torch.optim.SGD(net.parameters(), lr=1.0)
    settings = {"noise_multiplier": 1.0, "max_grad_norm": 1.0}
    with pytest.raises(PrivacyError, match="under no GradSampleModule"):
        DPOptimizer(inner, expected_batch_size=4, **settings)
    GradSampleModule(net)
    with pytest.raises(SettingError, match="expected_batch_size = None"):
        DPOptimizer(inner, **settings)
    with pytest.raises(SettingError, match="generator in secure mode"):
        DPOptimizer(inner, expected_batch_size=4, generator=torch.Generator(), secure_mode=True, **settings)


def test_a_registered_sampler_makes_another_layer_trainable(blobs) -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.ones(6)), nn.Parameter(torch.zeros(6))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight + self.bias

    asked = []

    @register_grad_sampler(Scale)
    def of_scale(layer, activations, backprops):
        asked.append(type(layer))
        return {layer.weight: activations[0] * backprops, layer.bias: backprops}

    try:
        net = nn.Sequential(Scale(), nn.Linear(6, 2))
        expected = singles(net, *blobs)
        model = GradSampleModule(net)
        F.cross_entropy(model(blobs[0]), blobs[1]).backward()
        assert asked
        assert Scale in GradSampleModule.GRAD_SAMPLERS
        for parameter, rows in zip(net.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad_sample, rows)
    finally:
        del rules.registry._RULES[Scale]


def test_the_batch_may_come_second(blobs) -> None:
    class Second(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.last = nn.Linear(2, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.inner(x.view(len(x), 3, 2).transpose(0, 1)).tanh().mean(0))

    torch.manual_seed(0)
    net = Second().double()
    x, y = blobs[0].double(), blobs[1]
    expected = singles(net, x, y)
    model = GradSampleModule(net, batch_first=False)
    F.cross_entropy(model(x), y).backward()
    for parameter, rows in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad_sample, rows, rtol=0, atol=1e-9)


def test_a_wrapped_module_is_made_private_as_it_is(blobs) -> None:
    model = GradSampleModule(classifier())
    data = DataLoader(TensorDataset(blobs[0].double(), blobs[1]), batch_size=20)
    model, optimizer, loader = PrivacyEngine(seed=0).make_private(
        module=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), data_loader=data
    )
    assert not isinstance(model._module, GradSampleModule)
    x, y = next(iter(loader))
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
    assert not hasattr(model[0].weight, "grad_sample")
    with pytest.raises(SettingError, match="strict=False"):
        GradSampleModule(classifier(), strict=False)
