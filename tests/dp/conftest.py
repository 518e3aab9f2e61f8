"""Nets and loops that several of these tests share."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from quintain.dp import PoissonLoader, PrivacyEngine, PrivateOptimizer, rules
from quintain.dp.capture.hooks import Capture
from quintain.dp.opacus.optimizers.optimizer import DPOptimizer
from quintain.dp.randomness.stream import RandomStream
from quintain.dp.sampling.privacy_units import PrivacyUnits
from quintain.dp.step.clipping import ClippingMethod
from tests.dp.support.forks import Forks

Made = tuple[nn.Module, PrivateOptimizer, PoissonLoader, PrivacyEngine]


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """A process to fork."""
    process = Forks()
    yield process
    process.close()


@pytest.fixture
def registry() -> Iterator[None]:
    """Rules that a test registers go with it."""
    kept = dict(rules.registry._RULES)
    yield
    rules.registry._RULES.clear()
    rules.registry._RULES.update(kept)


@pytest.fixture
def blobs() -> tuple[Tensor, Tensor]:
    """40 vectors of 6 numbers in two classes that a line tells apart."""
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(40) % 2
    return torch.randn(40, 6, generator=generator) + 2.0 * (2 * y[:, None] - 1), y


@pytest.fixture
def private(blobs: tuple[Tensor, Tensor]) -> Callable[..., Made]:
    """Make a small classifier of ``blobs`` private; keyword arguments go to ``make_private``."""

    def make(
        net: nn.Module | None = None,
        *,
        batch: int = 8,
        seed: int | None = 0,
        rate: float = 0.1,
        **settings: float,
    ) -> Made:
        engine = PrivacyEngine(seed=seed)
        net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)) if net is None else net
        optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=rate)
        loader = DataLoader(TensorDataset(*blobs), batch_size=batch)
        return (
            *engine.make_private(
                module=net,
                optimizer=optimizer,
                data_loader=loader,
                allow_no_privacy=True,
                **{"wrap_model": False, **settings},
            ),
            engine,
        )

    return make


@pytest.fixture
def made() -> Callable[..., tuple[DPOptimizer, PoissonLoader]]:
    """A private optimizer of a net over the rows of ``x``, and its loader; without an engine."""

    def make(
        net: nn.Module,
        x: Tensor,
        *,
        batch: int = 8,
        sigma: float = 1.0,
        bound: float | ClippingMethod = 1.0,
        units: PrivacyUnits | None = None,
        most: int | None = None,
        steps: int | None = None,
        reduction: str = "mean",
        lr: float = 0.1,
        momentum: float = 0.0,
        workers: int = 0,
        data: Dataset | None = None,
    ) -> tuple[DPOptimizer, PoissonLoader]:
        plain = DataLoader(TensorDataset(x) if data is None else data, batch_size=batch, num_workers=workers)
        loader = PoissonLoader.from_loader(
            plain, RandomStream.from_seed(0, "sampling"), units=units, max_physical_batch_size=most
        )
        loader.steps_per_epoch = steps or len(plain)
        optimizer = DPOptimizer(
            torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum),
            noise_multiplier=sigma,
            max_grad_norm=bound,
            loss_reduction=reduction,
            capture=Capture(
                net, current_batch=lambda: loader.physical_batch, on_pass_complete=lambda _turn: None
            ),
            loader=loader,
            stream=RandomStream.from_seed(0, "noise"),
        )
        return optimizer, loader

    return make
