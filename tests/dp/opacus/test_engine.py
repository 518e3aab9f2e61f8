"""The ordinary loop over the engine: what it does."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import BudgetExceededError, PrivacyError, SettingError
from quintain.dp import PoissonLoader, PrivacyEngine, epsilon
from tests.dp.support.loops import full, refused, step


def test_the_ordinary_loop_trains_and_counts(private, blobs) -> None:
    net, optimizer, loader, engine = private(batch=20, rate=0.5, noise_multiplier=1.5)
    assert engine.get_epsilon(1e-5) == 0
    for _ in range(15):
        for x, y in loader:
            step(net, optimizer, x, y)
    x, y = blobs
    assert (net(x).argmax(1) == y).float().mean() > 0.9
    assert engine.ledger.steps == 30
    assert engine.get_epsilon(1e-2) == epsilon(1.5, 0.5, 30, 1e-2) > 0
    assert loader.sample_rate == 0.5
    assert len(loader) == loader.steps_per_epoch == 2
    assert optimizer.examples_seen > optimizer.examples_clipped > 0


def test_without_noise_and_bound_it_is_plain_descent(private, blobs) -> None:
    net, optimizer, loader, engine = private(**full(40))
    plain = copy.deepcopy(net)
    sgd = torch.optim.SGD(plain.parameters(), lr=0.1)
    for _ in range(5):
        for x, y in loader:
            assert len(x) == 40
            step(net, optimizer, x, y)
        step(plain, sgd, *blobs)
    for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert engine.get_epsilon(1e-5) == float("inf")


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_one_batch_in_pieces_is_one_batch(private, reduction: str) -> None:
    results = []
    for pieces in (1, 3):
        torch.manual_seed(0)
        net, optimizer, loader, _ = private(batch=20, noise_multiplier=0.7, loss_reduction=reduction)
        for x, y in loader:
            for part, labels in zip(x.chunk(pieces), y.chunk(pieces), strict=True):
                F.cross_entropy(net(part), labels, reduction=reduction).backward()
            optimizer.step()
            optimizer.zero_grad()
        results.append(torch.cat([p.flatten() for p in net.parameters()]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)


def test_mean_and_sum_are_the_same_training(private) -> None:
    ends = []
    for reduction in ("mean", "sum"):
        torch.manual_seed(0)
        net, optimizer, loader, _ = private(loss_reduction=reduction)
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y, reduction=reduction).backward()
            optimizer.step()
        ends.append(torch.cat([p.flatten() for p in net.parameters()]))
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-5, atol=1e-6)


def test_an_empty_batch_is_a_noisy_step_that_counts(private) -> None:
    net, optimizer, loader, engine = private(
        nn.Sequential(nn.Linear(6, 4), nn.GroupNorm(2, 4), nn.Linear(4, 2)), batch=1, rate=1.0
    )
    sizes = []
    for x, y in loader:
        before = torch.cat([p.detach().flatten() for p in net.parameters()])
        step(net, optimizer, x, y)
        moved = torch.cat([p.detach().flatten() for p in net.parameters()]) - before
        assert moved.isfinite().all()
        assert (moved != 0).all()
        sizes.append(len(x))
    assert 0 in sizes
    assert engine.ledger.steps == len(sizes) == 40


def test_an_empty_batch_passes_through_convolutions() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 2)
    )
    data = TensorDataset(torch.rand(30, 1, 4, 4), torch.zeros(30, dtype=torch.long))
    net, optimizer, loader = PrivacyEngine(seed=0).make_private(
        module=net, optimizer=torch.optim.Adam(net.parameters()), data_loader=DataLoader(data, batch_size=1)
    )
    sizes = []
    for x, y in loader:
        step(net, optimizer, x, y)
        sizes.append(len(x))
    assert 0 in sizes
    assert all(p.isfinite().all() for p in net.parameters())


def test_collated_batches_keep_their_form_when_empty() -> None:
    rows = [{"x": torch.ones(3), "y": (0, "name")} for _ in range(20)]
    net = nn.Linear(3, 2)
    _, _, loader = PrivacyEngine(seed=0).make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        data_loader=DataLoader(rows, batch_size=1),
    )
    batches = list(loader)
    empty = next(batch for batch in batches if len(batch["x"]) == 0)
    assert empty["x"].shape == (0, 3)
    assert len(empty["y"][0]) == len(empty["y"][1]) == 0
    assert any(len(batch["x"]) for batch in batches)


def test_a_record_that_is_nan_does_no_harm(private, blobs) -> None:
    blobs[0][3] = torch.nan
    net, optimizer, loader, engine = private(batch=40)
    for x, y in loader:
        step(net, optimizer, x, y)
    assert all(p.isfinite().all() for p in net.parameters())
    assert engine.ledger.steps == 1


def test_parameters_unused_in_a_batch_get_noise_alone(private) -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(6, 2), nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    net, optimizer, loader, _ = private(Gated())
    step(net, optimizer, *next(iter(loader)))
    assert (net.unused.weight.grad != 0).all()
    assert net.unused.weight.grad.std() == pytest.approx(1.1 / 8, rel=0.6)


def test_frozen_layers_stay_and_the_rest_trains(private) -> None:
    net = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    net[:2].requires_grad_(False)
    net[1].eval()
    before = copy.deepcopy(net.state_dict())
    net, optimizer, loader, _ = private(net)
    step(net, optimizer, *next(iter(loader)))
    after = net.state_dict()
    assert [key for key in before if not torch.equal(before[key], after[key])] == ["2.weight", "2.bias"]
    net.train()
    with pytest.raises(PrivacyError, match="keep it in evaluation mode"):
        net(torch.zeros(2, 6))


def test_evaluation_in_between_neither_captures_nor_forbids(private, blobs) -> None:
    net, optimizer, loader, engine = private(batch=20)
    x, y = blobs
    for rows, labels in loader:
        net.eval()
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(net(leaf), y), leaf)
        net.train()
        with torch.no_grad():
            net(x)
        assert gradient.abs().sum() > 0
        step(net, optimizer, rows, labels)
    assert engine.ledger.steps == 2
    assert optimizer.examples_seen == pytest.approx(40, abs=15)


def test_a_copy_of_the_module_trains_plainly(private, blobs) -> None:
    net, optimizer, _loader, _ = private()
    twin = copy.deepcopy(net)
    F.cross_entropy(twin(blobs[0]), blobs[1]).backward()
    assert all(p.grad is not None for p in twin.parameters())
    with pytest.raises(PrivacyError, match="without captured gradients"):
        optimizer.step()


def test_a_scheduler_reaches_the_inner_rate(private) -> None:
    net, optimizer, loader, _ = private(rate=0.8)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    for x, y in loader:
        step(net, optimizer, x, y)
        scheduler.step()
    assert optimizer.inner.param_groups[0]["lr"] == 0.8 * 0.5 ** len(loader)
    assert optimizer.param_groups is optimizer.inner.param_groups
    assert isinstance(optimizer, torch.optim.Optimizer)


def test_a_closure_is_evaluated_before_the_clip(private) -> None:
    net, optimizer, loader, engine = private()
    x, y = next(iter(loader))

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        return loss

    assert optimizer.step(closure).isfinite()
    assert engine.ledger.steps == 1


def test_a_resumed_run_equals_one_that_never_stopped(private) -> None:
    def run(epochs: int, state=None):
        torch.manual_seed(0)
        net, optimizer, loader, engine = private(batch=10, noise_multiplier=2.0)
        if state is not None:
            net.load_state_dict(state[0])
            optimizer.load_state_dict(state[1])
        for _ in range(epochs):
            for x, y in loader:
                step(net, optimizer, x, y)
        return copy.deepcopy(net.state_dict()), optimizer.state_dict(), engine.get_epsilon(1e-2)

    whole, halves = run(2), run(1, run(1))
    assert all(torch.equal(whole[0][key], halves[0][key]) for key in whole[0])
    told = ("steps", "draws", "noise_multiplier", "max_grad_norm", "asked")
    assert all(whole[1]["privacy"][name] == halves[1]["privacy"][name] for name in told)
    assert whole[1]["privacy"]["ledger"]["releases"] == halves[1]["privacy"]["ledger"]["releases"]
    assert whole[2] == halves[2] > 0
    del halves[1]["privacy"]
    with pytest.raises(PrivacyError, match="forgotten"):
        run(1, halves)


def test_secret_runs_differ_and_seeded_ones_do_not(private) -> None:
    def end(seed: int | None) -> torch.Tensor:
        torch.manual_seed(0)
        net, optimizer, loader, engine = private(seed=seed)
        assert engine.reproducible is (seed is not None)
        state = torch.get_rng_state()
        for x, y in loader:
            step(net, optimizer, x, y)
        assert torch.equal(state, torch.get_rng_state())
        return net[0].weight.detach()

    assert torch.equal(end(4), end(4))
    assert not torch.equal(end(4), end(5))
    assert not torch.equal(end(None), end(None))


def test_two_nets_of_one_engine_get_different_noise(blobs) -> None:
    engine, data = PrivacyEngine(seed=0), TensorDataset(torch.zeros(8, 6))
    updates = []
    for _ in range(2):
        net = nn.Linear(6, 4, bias=False)
        _, optimizer, loader = engine.make_private(
            module=net,
            optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
            data_loader=DataLoader(data, batch_size=8),
        )
        for (x,) in loader:
            net(x).sum(1).mean().backward()
            optimizer.step()
        updates.append(net.weight.grad)
    assert not torch.equal(*updates)
    assert engine.ledger.steps == 2


def test_noise_for_a_target_is_spent_and_not_exceeded(blobs) -> None:
    engine, net = PrivacyEngine(seed=0), nn.Linear(6, 2)
    net, optimizer, loader = engine.make_private_with_epsilon(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        data_loader=DataLoader(TensorDataset(*blobs), batch_size=10),
        target_epsilon=2.0,
        target_delta=1e-3,
        epochs=3,
    )
    for _ in range(3):
        for x, y in loader:
            step(net, optimizer, x, y)
    assert 1.9 < engine.get_epsilon(1e-3) <= 2.0
    with pytest.raises(SettingError, match="already spent"):
        engine.make_private_with_epsilon(
            module=net,
            optimizer=optimizer.inner,
            data_loader=DataLoader([1]),
            target_epsilon=2.0,
            target_delta=1e-3,
            epochs=3,
        )


def test_two_backward_passes_over_one_forward_are_clipped_as_one(private) -> None:
    updates = []
    for split in (False, True):
        torch.manual_seed(0)
        net, optimizer, loader, _ = private(batch=20, noise_multiplier=0.0, max_grad_norm=0.1)
        rows, labels = next(iter(loader))
        out = net(rows)
        first, second = F.cross_entropy(out, labels), out.square().mean()
        if split:
            first.backward(retain_graph=True)
            second.backward()
        else:
            (first + second).backward()
        optimizer.step()
        updates.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    torch.testing.assert_close(*updates)


def test_steps_by_hand_are_the_same_step(private) -> None:
    ends = []
    for by_hand in (False, True):
        torch.manual_seed(0)
        net, optimizer, loader, engine = private(batch=20)
        rows, labels = next(iter(loader))
        F.cross_entropy(net(rows), labels).backward()
        if by_hand:
            with refused("before add_noise"):
                optimizer.scale_grad()
            optimizer.clip_and_accumulate()
            optimizer.add_noise()
            assert all(p.grad is None for p in net.parameters())
            optimizer.scale_grad()
            optimizer.original_optimizer.step()
        else:
            optimizer.step()
        ends.append(net[0].weight.detach())
        assert engine.ledger.steps == 1
    assert torch.equal(*ends)


def test_training_ends_before_the_budget_breaks(private) -> None:
    budget = (4.0, 1e-2)
    net, optimizer, loader, engine = private(batch=8, noise_multiplier=1.5, stop_at_epsilon=budget)
    steps = 0
    while True:
        before = steps
        for x, y in loader:
            step(net, optimizer, x, y)
            steps += 1
        if steps == before:
            break
    last = net[0].weight.detach().clone()
    assert engine.ledger.steps == steps > 2
    assert engine.get_epsilon(1e-2) <= budget[0] < epsilon(1.5, 0.2, steps + 1, 1e-2)
    loader.should_stop = lambda: False
    rows, labels = next(iter(loader))
    with pytest.raises(BudgetExceededError, match=r"would cost more than epsilon = 4\.0"):
        step(net, optimizer, rows, labels)
    assert torch.equal(net[0].weight, last)
    assert engine.ledger.steps == steps


def test_a_large_delta_is_warned_of(private) -> None:
    net, optimizer, loader, engine = private(batch=20)
    step(net, optimizer, *next(iter(loader)))
    with pytest.warns(UserWarning, match="not below 1/40"):
        engine.get_epsilon(1 / 40)


def test_the_record_states_what_the_guarantee_assumes(private) -> None:
    net, optimizer, loader, engine = private(batch=20, stop_at_epsilon=(100.0, 1e-3))
    assert "not probed yet" in engine.report.runs[0].mixing_probe.model
    step(net, optimizer, *next(iter(loader)))
    report = engine.report
    (run,) = report.runs
    assert report.reproducible
    assert report.steps == 1
    assert (run.noise_multiplier, run.max_grad_norm, run.expected_batch_size, run.num_units) == (
        1.1,
        1.0,
        20,
        40,
    )
    assert run.layers == ("0: Linear", "2: Linear")
    assert run.sampling == "poisson"
    assert "seed" in run.noise
    assert run.stop_at_epsilon == (100.0, 1e-3)
    assert (run.mixing_probe.model, run.mixing_probe.loss) == ("no dependence found between examples",) * 2
    assert report.assumptions
    assert report.enforced
    with pytest.raises(AttributeError):
        report.steps = 0


def test_a_data_set_of_tensors_with_its_own_records_keeps_them(blobs) -> None:
    class Doubled(TensorDataset):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
            x, y = super().__getitem__(index)
            return 2 * x, y

    net = nn.Linear(6, 2)
    _, _, loader = PrivacyEngine(seed=0).make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        data_loader=DataLoader(Doubled(*blobs), batch_size=40),
    )
    assert torch.equal(next(iter(loader))[0], 2 * blobs[0])


def test_the_step_is_recorded_before_it_is_applied(private, monkeypatch: pytest.MonkeyPatch) -> None:
    net, optimizer, loader, engine = private()
    before = net[0].weight.detach().clone()

    def crash(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(optimizer.inner, "step", crash)
    with pytest.raises(KeyboardInterrupt):
        step(net, optimizer, *next(iter(loader)))
    assert engine.ledger.steps == 1
    assert torch.equal(net[0].weight, before)


def test_a_further_rule_makes_another_layer_trainable(blobs) -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.weight

    net = nn.Sequential(Scale(), nn.Linear(6, 2))
    net, optimizer, loader = PrivacyEngine(
        seed=0, rules={Scale: lambda _layer, a, g, _names: {"weight": a * g}}
    ).make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=1.0),
        data_loader=DataLoader(TensorDataset(*blobs), batch_size=40),
        noise_multiplier=0.0,
        max_grad_norm=float("inf"),
        allow_no_privacy=True,
    )
    plain = copy.deepcopy(net)
    F.cross_entropy(plain(blobs[0]), blobs[1]).backward()
    step(net, optimizer, *next(iter(loader)))
    torch.testing.assert_close(net[0].weight.grad, plain[0].weight.grad)


def test_a_loader_is_a_poisson_loader(private) -> None:
    assert isinstance(private()[2], PoissonLoader)
