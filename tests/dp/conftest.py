"""Nets and loops that several of these tests share."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.dp import PoissonLoader, PrivacyEngine, PrivateOptimizer

Made = tuple[nn.Module, PrivateOptimizer, PoissonLoader, PrivacyEngine]


@pytest.fixture
def blobs() -> tuple[Tensor, Tensor]:
    """40 vectors of 6 numbers in two classes that a line tells apart."""
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(40) % 2
    return torch.randn(40, 6, generator=generator) + 2.0 * (2 * y[:, None] - 1), y


@pytest.fixture
def private(blobs: tuple[Tensor, Tensor]) -> Callable[..., Made]:
    """Make a small classifier of ``blobs`` private; keyword arguments go to ``make_private``."""

    def make(net: nn.Module | None = None, *, batch: int = 8, seed: int | None = 0, rate: float = 0.1, **settings: float) -> Made:
        engine = PrivacyEngine(seed=seed)
        net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)) if net is None else net
        optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=rate)
        loader = DataLoader(TensorDataset(*blobs), batch_size=batch)
        return (*engine.make_private(module=net, optimizer=optimizer, data_loader=loader, allow_no_privacy=True, **settings), engine)

    return make
