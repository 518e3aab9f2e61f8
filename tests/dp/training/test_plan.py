"""Plans, and the loop that follows one."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError, SettingError
from quintain.data import from_arrays
from quintain.dp import PrivatePlan, epsilon, fit

PLAN = PrivatePlan(
    noise_multiplier=2.0, max_grad_norm=1.0, expected_batch_size=20, steps=40, learning_rate=0.5, momentum=0.5
)


@pytest.fixture
def data():
    y = np.arange(100) % 2
    x = np.random.default_rng(0).uniform(0, 0.4, (100, 4, 4)).astype(np.float32) + 0.5 * y[
        :, None, None
    ].astype(np.float32)
    return from_arrays(x, y, name="squares")


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))


def test_a_fit_learns_and_states_its_price(data) -> None:
    model, released = net(), []
    result = fit(
        model, data, PLAN, seed=0, on_step=lambda step, update: released.append((step, update.clone()))
    )
    x, y = data.batch(np.arange(100))
    assert (model(x).argmax(1) == y).float().mean() > 0.9
    assert not model.training
    assert result.steps == 40
    assert result.sample_rate == 0.2
    assert result.reproducible
    assert 0 < result.clipped_fraction <= 1
    assert result.epsilon == pytest.approx(epsilon(2.0, 0.2, 40, 1e-5))
    assert result.epsilon == PLAN.epsilon(100)
    assert [step for step, _ in released] == list(range(40))
    assert all(update.shape == (2 * 9 + 2 + 16 + 2,) for _, update in released)


def test_the_released_updates_are_the_whole_training(data) -> None:
    model, updates = net(), list[Tensor]()
    start = torch.cat([p.detach().flatten() for p in model.parameters()])
    plan = PrivatePlan(4.0, 1.0, 20, 5, learning_rate=0.5)
    fit(model, data, plan, seed=0, on_step=lambda _step, update: updates.append(update.clone()))
    end = torch.cat([p.detach().flatten() for p in model.parameters()])
    torch.testing.assert_close(end, start - 0.5 * torch.stack(updates).sum(0))


def test_a_seed_repeats_a_run_and_secrecy_does_not(data) -> None:
    ends = []
    for seed in (3, 3, None, None):
        model = net()
        assert fit(model, data, PrivatePlan(4.0, 1.0, 20, 3, 0.5), seed=seed).reproducible is (
            seed is not None
        )
        ends.append(model[0].weight.detach())
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[2], ends[3])


def test_no_steps_cost_nothing_and_change_nothing(data) -> None:
    model, before = net(), net()
    result = fit(model, data, PrivatePlan(4.0, 1.0, 20, 0, 0.5))
    assert (result.epsilon, result.steps, result.clipped_fraction) == (0.0, 0, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before.parameters(), strict=True))


def test_the_module_is_plain_again_after_a_fit(data) -> None:
    model = net()
    fit(model, data, PrivatePlan(4.0, 1.0, 20, 1, 0.5))
    model.zero_grad()
    model.train()
    model(data.batch(np.arange(5))[0]).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_batch_norm_is_refused_and_leaves_the_net_alone(data) -> None:
    with pytest.raises(PrivacyError, match="GroupNorm"):
        fit(nn.Sequential(nn.BatchNorm2d(1), net()), data, PLAN)


def test_a_plan_at_a_target_stays_below_it() -> None:
    plan = PrivatePlan.for_epsilon(
        epsilon=2.0, delta=1e-4, num_records=1000, expected_batch_size=100, steps=50
    )
    assert 1.95 < plan.epsilon(1000) <= 2.0
    assert plan.sample_rate(1000) == 0.1
    with pytest.raises(SettingError, match="num_records = 0; expected at least 1"):
        PrivatePlan.for_epsilon(epsilon=2.0, num_records=0)


@pytest.mark.parametrize(
    "change",
    [
        {"noise_multiplier": -1},
        {"max_grad_norm": 0},
        {"expected_batch_size": 0},
        {"steps": -1},
        {"learning_rate": 0},
        {"momentum": 1},
        {"delta": 0},
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, float]) -> None:
    settings = {
        "noise_multiplier": 1.0,
        "max_grad_norm": 1.0,
        "expected_batch_size": 1,
        "steps": 1,
        "learning_rate": 0.1,
    }
    with pytest.raises(SettingError, match=f"got {next(iter(change))} = "):
        PrivatePlan(**{**settings, **change})


def test_a_plan_without_a_bound_has_no_noise() -> None:
    with pytest.raises(SettingError, match="expected a finite bound"):
        PrivatePlan(1.0, float("inf"), 1, 1, 0.1)
    assert PrivatePlan(0.0, float("inf"), 1, 1, 0.1).epsilon(10) == float("inf")


def test_a_net_with_nothing_to_train_is_refused(data) -> None:
    with pytest.raises(PrivacyError, match="requires_grad=True"):
        fit(net().requires_grad_(False), data, PLAN)


def test_fewer_records_than_a_batch_are_refused(data) -> None:
    with pytest.raises(SettingError, match="expected at least as many"):
        PLAN.epsilon(10)
    with pytest.raises(SettingError, match="lower the batch size"):
        fit(net(), data.subset(np.arange(10)), PLAN)
