"""What the engine refuses in a loop, a module, an optimizer or a loader."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, Subset, SubsetRandomSampler, TensorDataset

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp import PrivacyEngine
from tests.dp.support.loops import refused, step


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.BatchNorm1d(6), "'0' is a BatchNorm1d.*GroupNorm"),
        (nn.BatchNorm1d(6, affine=False), "'0' is a BatchNorm1d that mixes.*GroupNorm"),
        (nn.BatchNorm1d(6, track_running_stats=False).requires_grad_(False).eval(), "mixes"),
        (nn.InstanceNorm1d(6, track_running_stats=True), "running statistics without noise"),
    ],
)
def test_layers_that_cannot_be_private_are_named(private, layer: nn.Module, message: str) -> None:
    with refused(message):
        private(nn.Sequential(layer, nn.Linear(6, 2)))


def test_modules_and_optimizers_that_do_not_fit_are_refused(blobs) -> None:
    net, other = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 2)), nn.Linear(2, 2)
    data = DataLoader(TensorDataset(*blobs), batch_size=8)

    def make(parameters, module: nn.Module = net, loader=data, **settings):
        return PrivacyEngine().make_private(
            module=module, optimizer=torch.optim.SGD(parameters, lr=0.1), data_loader=loader, **settings
        )

    with refused("does not hold trainable parameter '1.weight'"):
        make(net[0].parameters())
    with refused("that the module does not"):
        make([*net.parameters(), *other.parameters()])
    for settings in (
        {"noise_multiplier": -1.0},
        {"max_grad_norm": 0.0},
        {"max_grad_norm": float("inf")},
        {"loss_reduction": "none"},
    ):
        with refused("expected", SettingError):
            make(net.parameters(), **settings)
    for loader in (
        DataLoader(TensorDataset(*blobs), batch_size=41),
        DataLoader(TensorDataset(*blobs), batch_size=None),
    ):
        with refused("expected", SettingError):
            make(net.parameters(), loader=loader)


def test_data_that_streams_is_refused() -> None:
    class Endless(IterableDataset):
        def __iter__(self):
            yield torch.zeros(6)

    net = nn.Linear(6, 2)
    with refused("streams", SettingError):
        PrivacyEngine().make_private(
            module=net,
            optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
            data_loader=DataLoader(Endless(), batch_size=1),
        )


def test_loops_that_would_break_the_bound_are_refused(private, blobs) -> None:
    x, y = blobs
    net, optimizer, loader, engine = private(batch=20)
    with refused("without captured gradients"):
        optimizer.step()
    F.cross_entropy(net(x), y).backward()
    with refused("private loader's latest"):
        optimizer.step()
    optimizer.zero_grad()

    rows, labels = next(iter(loader))
    step(net, optimizer, rows, labels)
    with refused("without captured gradients"):
        optimizer.step()
    with refused("already used"):
        step(net, optimizer, rows, labels)
    optimizer.zero_grad()

    rows, labels = next(iter(loader))
    F.cross_entropy(net(rows), labels).backward()
    F.cross_entropy(net(rows), labels).backward()
    with refused("each record once"):
        optimizer.step()
    optimizer.zero_grad()

    F.cross_entropy(net(rows[1:]), labels[1:]).backward()
    with refused("each record once"):
        optimizer.step()
    optimizer.zero_grad()

    for rows, labels in loader:
        F.cross_entropy(net(rows), labels).backward()
    with refused("on several"):
        optimizer.step()
    assert engine.ledger.steps == 1


def test_gradients_that_bypass_the_clip_are_refused(private) -> None:
    net, optimizer, loader, engine = private(batch=20)
    rows, labels = next(iter(loader))
    (F.cross_entropy(net(rows), labels) + net[0].weight.square().sum()).backward()
    with refused("'0.weight' has a plain gradient.*weight_decay"):
        optimizer.step()
    optimizer.zero_grad()
    net.eval()
    F.cross_entropy(net(rows), labels).backward()
    with refused("module.train"):
        optimizer.step()
    optimizer.zero_grad()
    net.train()
    with refused("outside the module's own forward"):
        net[2](net[1](net[0](rows)))
    with refused("another group"):
        optimizer.add_param_group({"params": []})
    step(net, optimizer, rows, labels)
    assert engine.ledger.steps == 1


def test_a_batch_that_is_not_first_is_refused(private) -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 5), nn.Linear(5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.first(x)[None].expand(len(x) + 1, -1, -1)).mean(0)

    net, _, loader, _ = private(Turned())
    rows, labels = next(iter(loader))
    with refused("expected the batch as first dimension"):
        F.cross_entropy(net(rows), labels).backward()


def test_positions_in_the_place_of_records_are_refused(blobs) -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(x.view(len(x), 3, 2).transpose(0, 1)).mean(0)

    net = Turned()
    net, optimizer, loader = PrivacyEngine(seed=0).make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        data_loader=DataLoader(TensorDataset(*blobs), batch_size=40),
    )
    with refused("held 3 examples, the batch 40.*first dimension in every layer"):
        step(net, optimizer, *next(iter(loader)))


@pytest.mark.parametrize("change", ["unfreeze", "freeze", "replace", "add"])
def test_what_is_trained_does_not_change_afterwards(private, change: str) -> None:
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    net[0].requires_grad_(False)
    net, _, loader, engine = private(net)
    rows, _ = next(iter(loader))
    if change == "replace":
        net[2] = nn.Linear(5, 2)
    elif change == "add":
        net.append(nn.Linear(2, 2))
    else:
        net[0 if change == "unfreeze" else 2].requires_grad_(change == "unfreeze")
    with refused("make_private again"):
        net(rows)
    assert engine.ledger.steps == 0


@pytest.mark.parametrize("change", ["gradient", "group"])
def test_an_optimizer_that_holds_more_than_was_made_private_does_not_step(blobs, change: str) -> None:
    net = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 2))
    F.cross_entropy(net(blobs[0]), blobs[1]).backward()
    net[0].requires_grad_(False)
    before = net[0].weight.clone()
    inner = torch.optim.SGD(net.parameters(), lr=0.1)
    net[1].zero_grad()
    if change == "group":
        net[0].zero_grad()
    net, optimizer, loader = PrivacyEngine(seed=0).make_private(
        module=net, optimizer=inner, data_loader=DataLoader(TensorDataset(*blobs), batch_size=8)
    )
    if change == "group":
        inner.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    rows, labels = next(iter(loader))
    F.cross_entropy(net(rows), labels).backward()
    with refused("expected no unfreezing and no further parameters"):
        optimizer.step()
    assert torch.equal(net[0].weight, before)


def test_a_pass_that_is_clipped_takes_no_more_gradients(private) -> None:
    net, optimizer, loader, _ = private(batch=20)
    rows, labels = next(iter(loader))
    half = len(rows) // 2
    first = F.cross_entropy(net(rows[:half]), labels[:half])
    first.backward(retain_graph=True)
    net(rows[half:])
    with refused("already clipped or dropped"):
        first.backward()
    optimizer.zero_grad()
    stale = F.cross_entropy(net(rows), labels)
    stale.backward(retain_graph=True)
    optimizer.zero_grad()
    with refused("already clipped or dropped"):
        stale.backward()


@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_half_precision_is_refused(blobs, how: str) -> None:
    half = torch.bfloat16 if how == "weights" else torch.float16
    dtype = half if how == "weights" else torch.float32
    net = nn.Linear(6, 2).to(dtype)
    net, _, loader = PrivacyEngine(seed=0).make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        data_loader=DataLoader(TensorDataset(blobs[0].to(dtype)), batch_size=8),
    )
    (rows,) = next(iter(loader))
    with (
        refused(f"got gradients in {half}.*autocast.*bfloat16"),
        torch.autocast("cpu", half, enabled=how == "autocast"),
    ):
        net(rows).sum().backward()


def test_making_private_twice_is_refused(private, blobs) -> None:
    net, optimizer, _, _ = private()
    plain, engine = DataLoader(TensorDataset(*blobs), batch_size=8), PrivacyEngine(seed=0)
    with refused("expected an ordinary DataLoader", SettingError):
        engine.make_private(module=net, optimizer=optimizer.inner, data_loader=blobs)
    with refused("private already"):
        engine.make_private(module=net, optimizer=optimizer, data_loader=plain)
    _, second, loader = engine.make_private(module=net, optimizer=optimizer.inner, data_loader=plain)
    rows, labels = next(iter(loader))
    with refused("belongs to two private optimizers"):
        net(rows)
    optimizer.capture.remove()
    step(net, second, rows, labels)
    assert engine.ledger.steps == 1


def test_noise_and_bound_change_between_steps_alone(private) -> None:
    net, optimizer, loader, engine = private(noise_multiplier=1.5, max_grad_norm=2.0, batch=20)
    assert (
        optimizer.noise_multiplier,
        optimizer.max_grad_norm,
        optimizer.private_step.noise_and_clip.sum_noise_std,
    ) == (1.5, 2.0, 3.0)
    rows, labels = next(iter(loader))
    half = len(rows) // 2
    F.cross_entropy(net(rows[:half]), labels[:half]).backward()
    optimizer.clip_and_accumulate()
    for name in ("noise_multiplier", "max_grad_norm"):
        with refused("wait for their noise"):
            setattr(optimizer, name, 0.1)
    F.cross_entropy(net(rows[half:]), labels[half:]).backward()
    optimizer.step()
    optimizer.noise_multiplier, optimizer.max_grad_norm = 3.0, 0.5
    assert optimizer.private_step.noise_and_clip.sum_noise_std == 1.5
    for sigma in (0.0, -1.0, float("inf")):
        with pytest.raises((PrivacyError, SettingError), match="expected"):
            optimizer.noise_multiplier = sigma
    with refused("expected", SettingError):
        optimizer.max_grad_norm = float("inf")
    step(net, optimizer, *next(iter(loader)))
    assert [release.noise_multiplier for release in engine.ledger.releases] == [1.5, 3.0]


def test_no_other_optimizer_steps_on_private_parameters(private) -> None:
    net, optimizer, loader, engine = private(batch=20)
    other = torch.optim.Adam(net.parameters())
    rows, labels = next(iter(loader))
    F.cross_entropy(net(rows), labels).backward()
    for plain in (other, optimizer.inner):
        with refused("past the clip and the noise"):
            plain.step()
    assert optimizer.pre_step()
    optimizer.original_optimizer.step()
    with refused("past the clip and the noise"):
        optimizer.original_optimizer.step()
    assert engine.ledger.steps == 1
    optimizer.capture.remove()
    other.step()


def test_buffers_that_training_writes_are_refused(private) -> None:
    class Counting(nn.Module):
        def __init__(self, how: str) -> None:
            super().__init__()
            self.layer, self.how = nn.Linear(6, 2), how
            self.register_buffer("seen", torch.zeros(6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training and self.how == "in place":
                self.seen += x.detach().sum(0)
            elif self.training and self.how == "anew":
                self.seen = x.detach().sum(0)
            return self.layer(x)

    for how, fine in (("never", True), ("in place", False), ("anew", False)):
        net, optimizer, loader, _ = private(Counting(how))
        batch = next(iter(loader))
        if fine:
            step(net, optimizer, *batch)
        else:
            with refused("buffer 'seen' was written"):
                step(net, optimizer, *batch)
            with refused("buffer 'seen' was written"), torch.no_grad():
                net(batch[0])
        net.eval()
        net(batch[0])


def test_optimizers_that_ask_for_several_gradients_are_refused(blobs) -> None:
    net = nn.Linear(6, 2)
    data = DataLoader(TensorDataset(*blobs), batch_size=8)
    with refused("LBFGS.*one gradient"):
        PrivacyEngine().make_private(
            module=net, optimizer=torch.optim.LBFGS(net.parameters()), data_loader=data
        )


def test_a_model_on_two_devices_is_refused(blobs) -> None:
    net = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 2, device="meta"))
    data = DataLoader(TensorDataset(*blobs), batch_size=8)
    with refused("on cpu, meta; expected all on one device"):
        PrivacyEngine().make_private(
            module=net, optimizer=torch.optim.SGD(net.parameters(), lr=0.1), data_loader=data
        )
    net.to_empty(device="cpu")
    PrivacyEngine().make_private(
        module=net, optimizer=torch.optim.SGD(net.parameters(), lr=0.1), data_loader=data
    )


def test_a_run_is_not_copied_with_its_noise(private) -> None:
    _, optimizer, loader, _ = private(seed=None)
    for thing in (optimizer, loader, optimizer.private_step.stream):
        with refused("copy or pickle a (stream of noise|private optimizer|private loader)"):
            copy.deepcopy(thing)
    for thing, name in ((optimizer.private_step.stream, "stream of noise"), (loader, "private loader")):
        with refused(f"copy or pickle a {name}"):
            copy.copy(thing)


def test_a_loader_that_chooses_its_records_is_refused(blobs) -> None:
    net, data = nn.Linear(6, 2), TensorDataset(*blobs)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with refused("SubsetRandomSampler.*Subset", SettingError):
        loader = DataLoader(data, batch_size=2, sampler=SubsetRandomSampler(range(10)))
        PrivacyEngine().make_private(module=net, optimizer=optimizer, data_loader=loader)
    loader = DataLoader(Subset(data, range(10)), batch_size=2, shuffle=True)
    assert (
        PrivacyEngine().make_private(module=net, optimizer=optimizer, data_loader=loader)[2].num_units == 10
    )


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_rule_that_misses_a_parameter_is_refused(private) -> None:
    net, optimizer, loader, engine = private(nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 2))))
    with refused(r"'0' gives gradients of \['bias'\].*\['bias', 'weight_g', 'weight_v'\]"):
        step(net, optimizer, *next(iter(loader)))
    assert engine.ledger.steps == 0


def test_outputs_that_are_needed_again_are_not_overwritten_unseen(blobs) -> None:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * self.weight).sigmoid()

    class Net(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[1](self[0](x).mul_(2))

    net = nn.Sequential(nn.Linear(6, 6), Net(Gate(), nn.Linear(6, 2)))
    net, _, loader = PrivacyEngine(
        seed=0, rules={Gate: lambda _layer, a, g, _names: {"weight": a * g}}
    ).make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=1.0),
        data_loader=DataLoader(TensorDataset(*blobs), batch_size=40),
    )
    rows, labels = next(iter(loader))
    with pytest.raises(RuntimeError, match="inplace"):
        F.cross_entropy(net(rows), labels).backward()


def test_double_backward_is_refused(private, blobs) -> None:
    net, _, _, _ = private()
    leaf = blobs[0].clone().requires_grad_()
    with pytest.raises(PrivacyError, match="create_graph=True"):
        torch.autograd.grad(net(leaf).sum(), leaf, create_graph=True)
