"""The moving average of weights, against its sum written out."""

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import SettingError
from quintain.data import from_arrays
from quintain.dp import PrivatePlan, fit
from quintain.training.ema import EMA


def walk(net: nn.Module, average: EMA, steps: int, *, seed: int = 0) -> list[torch.Tensor]:
    """Weights after each of some random steps."""
    generator, seen = torch.Generator().manual_seed(seed), []
    for _ in range(steps):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
        average.update()
        seen.append(net.weight.detach().clone())
    return seen


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_it_is_the_weighted_mean_of_all_iterates_but_the_first(decay: float) -> None:
    net = nn.Linear(3, 2).double()
    average = EMA(net, decay)
    seen = walk(net, average, 20)
    weights = torch.tensor([decay ** (19 - s) for s in range(20)], dtype=torch.float64)
    expected = (weights[:, None, None] * torch.stack(seen)).sum(0) / weights.sum()
    average.apply()
    torch.testing.assert_close(net.weight.detach(), expected, rtol=1e-12, atol=1e-12)


def test_before_the_first_step_it_is_the_weights_themselves() -> None:
    net = nn.Linear(3, 2)
    before = net.weight.detach().clone()
    EMA(net, 0.9).apply()
    assert torch.equal(net.weight, before)


def test_frozen_weights_are_left_alone() -> None:
    net = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2))
    average = EMA(net, 0.5)
    assert set(average.state_dict()["means"]) == {"1.weight", "1.bias"}


def test_a_look_at_the_mean_changes_nothing_even_if_it_breaks_off() -> None:
    net = nn.Linear(3, 2).double()
    average = EMA(net, 0.9)
    seen = walk(net, average, 5)

    def look() -> None:
        with average.applied():
            assert not torch.equal(net.weight, seen[-1])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look()
    assert torch.equal(net.weight, seen[-1])


def test_it_goes_on_from_its_state() -> None:
    ends = []
    for broken in (False, True):
        torch.manual_seed(0)
        net = nn.Linear(3, 2).double()
        average = EMA(net, 0.9)
        walk(net, average, 4)
        if broken:
            state = average.state_dict()
            average = EMA(net, 0.9)
            average.load_state_dict(state)
        walk(net, average, 4, seed=1)
        average.apply()
        ends.append(net.weight.detach().clone())
    assert torch.equal(*ends)
    with pytest.raises(SettingError, match="expected those of"):
        EMA(nn.Linear(3, 3), 0.9).load_state_dict(average.state_dict())


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(SettingError, match="got decay = "):
        EMA(nn.Linear(1, 1), decay)


@pytest.fixture
def data():
    y = np.arange(60) % 2
    x = np.random.default_rng(0).uniform(0, 0.4, (60, 6, 6)).astype(np.float32) + 0.5 * y[
        :, None, None
    ].astype(np.float32)
    return from_arrays(x, y, name="squares")


def trained(data, **settings: float) -> tuple[nn.Module, list[torch.Tensor]]:
    torch.manual_seed(0)
    net, released = nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), []
    plan = PrivatePlan(2.0, 1.0, 20, 6, learning_rate=0.5, **settings)
    fit(net, data, plan, seed=0, on_step=lambda _step, update: released.append(update.clone()))
    return net, released


def test_a_plan_with_a_mean_ends_with_the_mean_of_the_same_iterates(data) -> None:
    torch.manual_seed(0)
    start = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))[1].weight.detach().flatten()
    plain, updates = trained(data)
    mean, same = trained(data, ema_decay=0.8)
    assert all(torch.equal(a, b) for a, b in zip(updates, same, strict=True))
    iterates = start - 0.5 * torch.stack([update[:72] for update in updates]).cumsum(0)
    weights = torch.tensor([0.8 ** (5 - s) for s in range(6)])
    torch.testing.assert_close(plain[1].weight.detach().flatten(), iterates[-1])
    torch.testing.assert_close(
        mean[1].weight.detach().flatten(), (weights[:, None] * iterates).sum(0) / weights.sum()
    )


def test_altered_copies_cost_nothing_and_are_drawn_from_the_run(data) -> None:
    _, updates = trained(data)
    _, unmoved = trained(data, augmentations_per_record=3)
    for a, b in zip(updates, unmoved, strict=True):
        torch.testing.assert_close(a, b)
    _, moved = trained(data, augmentations_per_record=3, max_shift_pixels=1)
    _, again = trained(data, augmentations_per_record=3, max_shift_pixels=1)
    assert all(torch.equal(a, b) for a, b in zip(moved, again, strict=True))
    assert not torch.allclose(moved[0], updates[0])
