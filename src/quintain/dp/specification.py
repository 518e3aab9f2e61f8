"""Does the engine do what its epsilon assumes? Noise, inclusion and sensitivity, measured through its public entry."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import SpecificationFailure
from quintain.core.seeds import derive
from quintain.dp.engine import PrivacyEngine
from quintain.dp.training.plan import PrivatePlan
from quintain.results.privacy_records import SpecificationTest

LEVEL = 1e-6
NOISE_STEPS = 4
WIDTH = 256
SLACK = 1e-6
HOSTILE = 12


@dataclass(frozen=True, slots=True)
class Measured:
    """The tests of one plan.

    Args:
        tests: Each with what was promised and what was found.
    """

    tests: tuple[SpecificationTest, ...]

    @property
    def passed(self) -> bool:
        """Whether chance explains all of them."""
        return all(test.passed for test in self.tests)

    def require(self) -> "Measured":
        """Itself, if all passed.

        Raises:
            SpecificationFailure: With every test that failed.
        """
        failed = [test.text for test in self.tests if not test.passed]
        if failed:
            raise SpecificationFailure("; ".join(failed) + "; the epsilon of this code is void: expected what the plan states")
        return self


def measure(plan: PrivatePlan, n: int, *, seed: int | None = None) -> Measured:
    r"""Run the engine on records made for it, and compare what it does with what the accountant is told.

    - noise: records without gradient leave :math:`b\,\tilde g / (\sigma C)` standard normal: spread (chi-square), shape
      (Kolmogorov-Smirnov), and no correlation between steps or between layers;
    - inclusion: each record is in Bin(T, q) batches, batch sizes vary as Bin(n, q): fixed or shuffled batches do not;
    - sensitivity: without noise, one record more or less moves the sum by at most C, on huge, equal, NaN and cancelling records, through
      every kind of layer with a rule.

    Args:
        plan: What is claimed; a plan without noise is held to that.
        n: Number of records.
        seed: For a measurement that can be repeated; fresh entropy by default.

    Returns:
        The tests, each failing at p < 1e-6.
    """
    return Measured((*_noise(plan, seed), *_inclusion(plan, n, seed), _sensitivity(plan, seed)))


def _engine(seed: int | None, purpose: str) -> PrivacyEngine:
    return PrivacyEngine(seed=None if seed is None else derive(seed, "specification", purpose))


def _loader(*columns: Tensor, batch: int) -> "DataLoader[tuple[Tensor, ...]]":
    return DataLoader(TensorDataset(*columns), batch_size=batch, generator=torch.Generator())


def _noise(plan: PrivatePlan, seed: int | None) -> tuple[SpecificationTest, ...]:
    from scipy.special import chdtr, chdtrc, kolmogorov, ndtr

    scale = plan.noise_multiplier * plan.max_grad_norm
    silent = torch.zeros(2 * plan.expected_batch_size, WIDTH)
    net, optimizer, loader = _engine(seed, "noise").make_private(
        module=(inner := _two_layers()),
        optimizer=torch.optim.SGD(inner.parameters(), lr=0.0),
        data_loader=_loader(silent, batch=plan.expected_batch_size),
        noise_multiplier=plan.noise_multiplier,
        max_grad_norm=plan.max_grad_norm,
        allow_no_privacy=True,
    )
    drawn: list[Tensor] = []
    while len(drawn) < NOISE_STEPS:
        for (x,) in loader:
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()
            drawn.append(torch.cat([p.grad.flatten().double() for p in inner.parameters() if p.grad is not None]))
    steps = torch.stack(drawn[:NOISE_STEPS]) * plan.expected_batch_size
    if scale == 0 or math.isinf(plan.max_grad_norm):
        found = float(steps.abs().max())
        return (_test("noise", 0.0, found, 1.0 if found == 0 else 0.0, "largest noise of a plan that states none"),)
    z = steps / scale
    count, spread = z.numel(), float(z.square().mean())
    p_spread = 2 * float(min(chdtr(count, count * spread), chdtrc(count, count * spread)))
    heights = ndtr(np.sort(z.flatten().numpy()))
    ranks = np.arange(count + 1) / count
    distance = float(np.maximum(heights - ranks[:-1], ranks[1:] - heights).max())

    def alike(what: str, one: Tensor, other: Tensor) -> SpecificationTest:
        found = float((one * other).mean())
        p_value = 2 * float(ndtr(-abs(found) * math.sqrt(one.numel())))
        return _test(f"noise between {what}s", 0.0, found, p_value, f"correlation of the noise of two {what}s")

    return (
        _test("noise", scale, scale * math.sqrt(spread), p_spread, f"standard deviation of the noise in the sum, {count} draws"),
        _test("noise shape", 0.0, distance, float(kolmogorov(distance * math.sqrt(count))), "distance of the noise from Gaussian"),
        alike("step", z[1:], z[:-1]),
        alike("layer", *z.chunk(2, dim=1)),
    )


def _inclusion(plan: PrivatePlan, n: int, seed: int | None) -> tuple[SpecificationTest, ...]:
    q, batches = plan.sample_rate(n), max(plan.steps, 200)
    net = nn.Linear(1, 1)
    _, _, loader = _engine(seed, "inclusion").make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=1.0),
        data_loader=_loader(torch.arange(n), batch=plan.expected_batch_size),
        noise_multiplier=plan.noise_multiplier,
        max_grad_norm=plan.max_grad_norm,
        allow_no_privacy=True,
    )
    counts = np.zeros(n, dtype=np.int64)
    sizes: list[int] = []
    while len(sizes) < batches:
        for (rows,) in loader:
            np.add.at(counts, rows.numpy(), 1)
            sizes.append(len(rows))
    drawn = np.asarray(sizes)
    mean = float(drawn.mean())
    if q == 1:
        return (_test("inclusion", n, mean, 1.0 if bool((drawn == n).all()) else 0.0, "size of batches that hold every record"),)
    records, p_records = _dispersion(counts, len(sizes), q)
    spread, p_spread = _dispersion(drawn, n, q)
    z = (mean - n * q) / math.sqrt(n * q * (1 - q) / len(sizes))
    return (
        _test("batch size", n * q, mean, math.erfc(abs(z) / math.sqrt(2)), f"mean size of {len(sizes)} batches"),
        _test("inclusion", 1.0, records, p_records, f"spread of how often a record is drawn, over that of Bin({len(sizes)}, {q:.4g})"),
        _test("batch size spread", 1.0, spread, p_spread, f"spread of batch sizes, over that of Bin({n}, {q:.4g})"),
    )


def _dispersion(counts: npt.NDArray[np.int64], trials: int, q: float) -> tuple[float, float]:
    """Mean squared deviation of counts from Bin(trials, q), over its variance; with the p-value of a Gaussian with the exact kurtosis."""
    variance = trials * q * (1 - q)
    ratio = float(np.mean((counts - trials * q) ** 2)) / variance
    kurtosis = (1 - 6 * q * (1 - q)) / variance
    return ratio, _gamma_p(ratio, (2 + kurtosis) / len(counts))


def _gamma_p(ratio: float, variance: float) -> float:
    """Two-sided p-value of a positive statistic of mean 1 and this variance: the gamma law with both (chi-square where it is one)."""
    from scipy.special import gammainc, gammaincc

    return 2 * float(min(gammainc(1 / variance, ratio / variance), gammaincc(1 / variance, ratio / variance)))


def _sensitivity(plan: PrivatePlan, seed: int | None) -> SpecificationTest:
    net = _every_layer(derive(seed or 0, "specification", "net"))
    x, y = _hostile()
    bound = plan.max_grad_norm
    if math.isinf(bound):
        return _test("sensitivity", bound, bound, 1.0, "no bound is claimed")
    whole = _clipped_sum(net, x, y, bound)
    moved = [
        float((whole - _clipped_sum(net, x[keep], y[keep], bound)).norm())
        for keep in (torch.arange(len(x)) != left for left in range(len(x)))
    ]
    found = math.inf if any(map(math.isnan, moved)) else max(moved)
    text = f"most that one of {len(x)} hostile records moves the sum of clipped gradients"
    return _test("sensitivity", bound, found, 1.0 if found <= bound * (1 + SLACK) else 0.0, text)


def _clipped_sum(net: nn.Module, x: Tensor, y: Tensor, bound: float) -> Tensor:
    """What the engine adds up for these records: all are drawn, no noise."""
    engine = PrivacyEngine(seed=0)
    _, optimizer, loader = engine.make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.0),
        data_loader=_loader(x, y, batch=len(x)),
        noise_multiplier=0.0,
        max_grad_norm=bound,
        allow_no_privacy=True,
    )
    try:
        for rows, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(rows), labels).backward()
            optimizer.step()
        return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]) * len(x)
    finally:
        optimizer.capture.remove()
        net.zero_grad()


def _two_layers() -> nn.Module:
    """Two layers of equal size, whose weights are zero, so that zeros have no gradient."""
    net = nn.Sequential(nn.Linear(WIDTH, WIDTH // 2, bias=False), nn.Linear(WIDTH // 2, WIDTH, bias=False))
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    return net


def _every_layer(seed: int) -> nn.Module:
    """A small float64 net of each kind of layer, in training mode, its weights from ``seed``."""
    shared = nn.Linear(8, 8)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1),
        nn.GroupNorm(2, 4),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(64, 8),
        nn.LayerNorm(8),
        shared,
        nn.Tanh(),
        shared,
        nn.Linear(8, 3),
    ).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.5, generator=generator)
    return net


def _hostile() -> tuple[Tensor, Tensor]:
    """Records that are large, huge, equal, opposite, NaN and zero."""
    base = torch.linspace(-1, 1, 64, dtype=torch.float64).sin().view(1, 1, 8, 8)
    scales = [1.0, 1.0, -1.0, 1e3, -1e3, 1e8, 1e8, 1e-8, 0.0, math.nan, math.inf, 30.0]
    return torch.cat([base * scale for scale in scales]), torch.arange(HOSTILE) % 3


def _test(name: str, expected: float, measured: float, p_value: float, what: str) -> SpecificationTest:
    passed = p_value >= LEVEL
    verdict = "as stated" if passed else f"not explained by chance (p = {p_value:.1e})"
    return SpecificationTest(
        name, expected, measured, p_value, passed, f"{what}: expected {expected:.6g}, measured {measured:.6g}, {verdict}"
    )
