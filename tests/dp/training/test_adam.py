"""DP-Adam: its moments under pure noise, its steps in closed form, and who tells it the noise."""

import pytest
import torch
from torch import nn

from quintain.core.errors import SettingError
from quintain.dp.training.adam import DPAdam


def test_under_pure_noise_the_corrected_second_moment_is_zero_on_average() -> None:
    count, std, slower, steps = 50_000, 0.3, 0.9, 30
    weight, generator = (
        nn.Parameter(torch.zeros(count, dtype=torch.float64)),
        torch.Generator().manual_seed(0),
    )
    optimizer = DPAdam([weight], betas=(0.9, slower), noise_std=std)
    for _ in range(steps):
        weight.grad = std * torch.randn(count, generator=generator, dtype=torch.float64)
        optimizer.step()
    second = optimizer.state[weight]["second"] / (1 - slower**steps)
    shares = (1 - slower) * slower ** torch.arange(steps, dtype=torch.float64) / (1 - slower**steps)
    spread = std**2 * (2 * shares.square().sum()).sqrt()
    corrected = second - std**2
    assert corrected.mean().abs() < 5 * spread / count**0.5
    assert corrected.std() == pytest.approx(float(spread), rel=0.03)
    assert second.mean() > 100 * spread / count**0.5


def test_a_step_is_the_formula() -> None:
    weight = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = DPAdam([weight], lr=0.1, betas=(0.8, 0.9), second_moment_floor=0.01, noise_std=0.5)
    gradients = torch.tensor([[1.0, 0.5, -2.0], [0.2, -0.4, 1.0]], dtype=torch.float64)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    one, two = gradients
    first = [one, (0.8 * 0.2 * one + 0.2 * two) / (1 - 0.64)]
    second = [one**2, (0.9 * 0.1 * one**2 + 0.1 * two**2) / (1 - 0.81)]
    expected = -0.1 * sum(m / (v - 0.25).clamp(min=0.01).sqrt() for m, v in zip(first, second, strict=True))
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-12, atol=0)


def test_without_noise_it_is_adam() -> None:
    ends = []
    for make in (
        lambda p: DPAdam(p, lr=0.01, second_moment_floor=1e-30, noise_std=0.0),
        lambda p: torch.optim.Adam(p, lr=0.01, eps=0.0),
    ):
        weight, generator = (
            nn.Parameter(torch.ones(20, dtype=torch.float64)),
            torch.Generator().manual_seed(0),
        )
        optimizer = make([weight])
        for _ in range(10):
            weight.grad = torch.randn(20, generator=generator, dtype=torch.float64)
            optimizer.step()
        ends.append(weight.detach())
    torch.testing.assert_close(*ends, rtol=1e-12, atol=0)


def test_a_private_optimizer_tells_it_the_noise(blobs) -> None:
    from torch.utils.data import DataLoader, TensorDataset

    from quintain.dp import PrivacyEngine

    net = nn.Linear(6, 2)
    inner = DPAdam(net.parameters(), lr=0.01, noise_std=123.0)
    net, optimizer, loader = PrivacyEngine(seed=0).make_private(
        module=net,
        optimizer=inner,
        data_loader=DataLoader(TensorDataset(*blobs), batch_size=8),
        noise_multiplier=1.5,
        max_grad_norm=0.4,
    )
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        break
    assert [group["noise_std"] for group in inner.param_groups] == [pytest.approx(1.5 * 0.4 / 8)]
    assert inner.state[next(iter(inner.state))]["step"] == 1


def test_noise_that_nobody_tells_is_refused() -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.ones(2)
    with pytest.raises(SettingError, match="does not know the noise"):
        DPAdam([weight]).step()
    assert torch.equal(weight.detach(), torch.zeros(2))


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0},
        {"betas": (1.0, 0.9)},
        {"second_moment_floor": 0},
        {"noise_std": -1},
        {"noise_std": float("inf")},
    ],
)
def test_settings_out_of_range_are_refused(change) -> None:
    with pytest.raises(SettingError, match=f"got {next(iter(change))} = "):
        DPAdam([nn.Parameter(torch.zeros(1))], **change)
