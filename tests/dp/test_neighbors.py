"""Data sets of N and N - 1 records with equal public constants: a release differs by one clipped gradient
over b, and by nothing else.

Implementations that divide by the batch that was drawn tell its size by the scale of their noise
(arXiv:2605.15648). Here the divisor is the public expected batch.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.statistics import binomial_lower, binomial_upper
from quintain.data import from_arrays
from quintain.dp import PoissonLoader, PrivacyEngine, PrivatePlan, fit
from quintain.dp.accounting import epsilon
from quintain.dp.sampling.epoch_loaders import BallsInBinsLoader, ShuffledLoader
from quintain.dp.step.noisy_sum import NoisySum

RECORDS, FEATURES, BOUND, DELTA = 6, 400, 0.7, 1e-5
LEFT_OUT = 2
LOADERS = {"poisson": PoissonLoader, "shuffle": ShuffledLoader, "balls-in-bins": BallsInBinsLoader}
Releases = Callable[..., Tensor]


@pytest.fixture
def records() -> tuple[Tensor, Tensor]:
    """Records of which only the first features are not zero: the other columns of a linear layer's gradient
    are noise alone.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(RECORDS, FEATURES)
    x[:, :8] = torch.rand(RECORDS, 8, generator=generator)
    return x, (torch.arange(RECORDS) % 2).long()


def linear() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(FEATURES, 2))


def through_the_loop(
    sampling: str, records: tuple[Tensor, Tensor], *, batch: int, sigma: float, steps: int, seed: int
) -> Tensor:
    """What each step of an ordinary loop releases, (steps, P); weights stay where they are."""
    engine, net = PrivacyEngine(seed=seed), linear()
    plain = DataLoader(TensorDataset(*records), batch_size=batch)
    net, optimizer, loader = engine.make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.0),
        data_loader=LOADERS[sampling].from_loader(plain, engine._random.issue("sampling")),
        noise_multiplier=sigma,
        max_grad_norm=BOUND,
        poisson_sampling=sampling == "poisson",
        wrap_model=False,
    )
    released = []
    while len(released) < steps:
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y, reduction="mean" if len(y) else "sum").backward()
            optimizer.step()
            released.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    optimizer.capture.remove()
    return torch.stack(released[:steps])


def through_fit(
    _sampling: str, records: tuple[Tensor, Tensor], *, batch: int, sigma: float, steps: int, seed: int
) -> Tensor:
    """What each step of ``fit`` releases, (steps, P), at a learning rate that moves nothing."""
    released: list[Tensor] = []
    plan = PrivatePlan(sigma, BOUND, batch, steps, learning_rate=1e-30)
    data = from_arrays(records[0].numpy(), records[1].numpy(), name="neighbors")
    fit(linear(), data, plan, seed=seed, on_step=lambda _step, mean: released.append(mean))
    return torch.stack(released)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Take one record out of the data, and leave all public constants as they are: n, b, and the draws of the
    others.
    """

    def leave_out() -> None:
        def others(chosen: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
            return lambda loader, turn: (rows := chosen(loader, turn))[rows != LEFT_OUT]

        for kind in LOADERS.values():
            monkeypatch.setattr(kind, "_sample_units", others(kind._sample_units))

    return leave_out


WAYS = [
    pytest.param(through_the_loop, "poisson", id="loop-poisson"),
    pytest.param(through_the_loop, "shuffle", id="loop-shuffle"),
    pytest.param(through_the_loop, "balls-in-bins", id="loop-balls-in-bins"),
    pytest.param(through_fit, "poisson", id="fit-poisson"),
]
pytestmark = pytest.mark.filterwarnings(
    "ignore:batches of shuffled data", "ignore:balls-in-bins sampling", "ignore:got a loader of"
)


def clipped_gradient(records: tuple[Tensor, Tensor]) -> Tensor:
    """The record's own gradient by plain autograd, clipped by hand, (P,)."""
    net = linear()
    F.cross_entropy(net(records[0][LEFT_OUT : LEFT_OUT + 1]), records[1][LEFT_OUT : LEFT_OUT + 1]).backward()
    gradient = torch.cat([p.grad.flatten() for p in net.parameters()]).double()
    return gradient * min(1.0, BOUND / float(gradient.norm()))


@pytest.mark.parametrize(("releases", "sampling"), WAYS)
@pytest.mark.parametrize("batch", [2, RECORDS])
def test_a_record_changes_a_release_by_its_clipped_gradient_alone(
    releases: Releases, sampling: str, batch: int, records: tuple[Tensor, Tensor], without: Callable[[], None]
) -> None:
    """With equal draws and noise, so that the difference is exact but for the rounding of float32."""
    settings = {"batch": batch, "sigma": 1.0, "steps": 12, "seed": 5}
    with_it = releases(sampling, records, **settings)
    without()
    difference = (with_it - releases(sampling, records, **settings)).double()
    own = clipped_gradient(records) / batch
    rounding = 64 * torch.finfo(torch.float32).eps * float(with_it.abs().max())
    took_part = difference.abs().amax(1) > rounding
    assert torch.allclose(difference[took_part], own.expand(int(took_part.sum()), -1), rtol=0, atol=rounding)
    assert took_part.all() if batch == RECORDS else 0 < int(took_part.sum()) < 12


def audited_epsilon(
    releases: Releases, sampling: str, records: tuple[Tensor, Tensor], without: Callable[[], None]
) -> float:
    """What a membership test on the scale of the noise proves of one step at confidence 98 %, by two exact
    binomial bounds.
    """
    settings = {"batch": RECORDS, "sigma": SIGMA, "steps": TRIALS}
    with_it = scales(releases(sampling, records, seed=1, **settings))
    without()
    left_out = scales(releases(sampling, records, seed=2, **settings))
    # The threshold is the middle between the two divisors: it was fixed before anything was seen.
    threshold = (1 + (RECORDS / (RECORDS - 1)) ** 2) / 2
    hits, false_alarms = int((left_out > threshold).sum()), int((with_it > threshold).sum())
    least = binomial_lower(hits, TRIALS, 0.99)
    most = binomial_upper(false_alarms, TRIALS, 0.99)
    return max(0.0, math.log(max(least - DELTA, 1e-300) / most))


SIGMA, TRIALS = 5.0, 32


def scales(releases: Tensor) -> Tensor:
    """Mean square of the coordinates that hold noise alone, in units of the variance that is claimed,
    (steps,).
    """
    noise = releases[:, : 2 * FEATURES].view(-1, 2, FEATURES)[:, :, 8:]
    return noise.double().square().mean((1, 2)) * (RECORDS / (SIGMA * BOUND)) ** 2


@pytest.mark.parametrize(("releases", "sampling"), WAYS)
def test_an_audit_of_neighbors_stays_below_epsilon(
    releases: Releases, sampling: str, records: tuple[Tensor, Tensor], without: Callable[[], None]
) -> None:
    assert audited_epsilon(releases, sampling, records, without) <= epsilon(SIGMA, 1.0, 1, DELTA)


@pytest.fixture
def drawn_divisor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mistake: sums are divided by the batch that was drawn."""
    real = NoisySum.add_noise

    def add_noise(self, *words) -> None:
        real(self, *words)
        loader = self._loader
        self.clipped.flat.mul_(loader.expected_batch_size / max(1, loader.logical_batch_size))

    monkeypatch.setattr(NoisySum, "add_noise", add_noise)


@pytest.mark.usefixtures("drawn_divisor")
@pytest.mark.parametrize(("releases", "sampling"), WAYS)
def test_a_divisor_by_the_drawn_batch_is_found(
    releases: Releases, sampling: str, records: tuple[Tensor, Tensor], without: Callable[[], None]
) -> None:
    assert audited_epsilon(releases, sampling, records, without) > epsilon(SIGMA, 1.0, 1, DELTA)
