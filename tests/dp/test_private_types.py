"""``make_private`` keeps the caller's own types: mypy reads this file, too, as pyproject.toml says."""

import tomllib
from pathlib import Path
from typing import assert_type

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.dp import (
    BallsInBinsLoader,
    PoissonLoader,
    PrivacySettings,
    Private,
    PrivateOptimizer,
    RandomSource,
    augment,
    make_private,
)
from quintain.dp.sampling.loader import SamplingLoader


class Net(nn.Module):
    """A net with a method of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x)

    def logits(self, x: Tensor) -> Tensor:
        """What the caller may call."""
        return torch.as_tensor(self.head(x))


class Rows:
    """Records that are fetched by hand."""

    def batch(self, rows: object) -> dict[str, Tensor]:
        """A batch."""
        return {"x": torch.zeros(len(list(rows)), 4)}  # type: ignore[call-overload]


def test_the_fields_have_the_callers_types() -> None:
    net = Net()
    data = DataLoader(TensorDataset(torch.randn(8, 4), torch.arange(8) % 2), batch_size=4)
    settings = PrivacySettings(noise_multiplier=1.0)
    private = make_private(net, torch.optim.Adam(net.parameters()), data, settings)
    assert_type(private, Private[Net, torch.optim.Adam, tuple[Tensor, ...]])
    assert_type(private.module, Net)
    assert_type(private.optimizer, PrivateOptimizer[torch.optim.Adam])
    assert_type(private.optimizer.inner, torch.optim.Adam)
    assert_type(private.loader, SamplingLoader[tuple[Tensor, ...]])
    assert_type(private.settings, PrivacySettings)
    assert_type(private.epsilon(1e-3), float)
    for x, y in private.loader:
        assert_type(x, Tensor)
        assert_type(y, Tensor)
        with torch.no_grad():
            assert_type(private.module.logits(x), Tensor)
        break
    assert_type(private.detach(), Net)
    assert isinstance(private.detach(), Net)


def test_a_loader_that_samples_already_keeps_the_type_of_its_batches() -> None:
    source, net = RandomSource.from_seed(0), Net()
    loader = PoissonLoader(
        Rows().batch, num_units=8, expected_batch_size=4, steps_per_epoch=2, stream=source.issue("sampling")
    )
    assert_type(loader, PoissonLoader[dict[str, Tensor]])
    assert_type(augment(loader, 2), PoissonLoader[dict[str, Tensor]])
    private = make_private(
        net,
        torch.optim.SGD(net.parameters(), lr=0.1),
        loader,
        PrivacySettings(noise_multiplier=1.0),
        random=source,
    )
    assert_type(private, Private[Net, torch.optim.SGD, dict[str, Tensor]])
    for batch in private.loader:
        assert_type(batch, dict[str, Tensor])
        assert set(batch) == {"x"}

    def widened(
        private: Private[nn.Module, torch.optim.Optimizer, object], loader: SamplingLoader[object]
    ) -> int:
        """What a function that needs no more may ask for."""
        return private.ledger.steps + len(loader)

    assert widened(private, private.loader) == 2
    plain: DataLoader[tuple[Tensor, ...]] = DataLoader(TensorDataset(torch.randn(8, 4)), batch_size=4)
    assert_type(
        BallsInBinsLoader.from_loader(plain, source.issue("sampling")), BallsInBinsLoader[tuple[Tensor, ...]]
    )


def test_mypy_reads_this_file() -> None:
    root = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    assert str(Path(__file__).relative_to(root)) in settings["files"]
    assert settings["strict"]
