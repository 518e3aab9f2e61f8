"""Does training do what its epsilon assumes? Noise, inclusion and sensitivity, measured through the ways that training takes."""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from quintain.core.errors import SpecificationFailure
from quintain.core.laws import cosine_p, crowded_p, repeated_p, shape_p, spread_p, tails_p
from quintain.core.seeds import derive
from quintain.dp.specimens import EveryLayer, Loud, Unmoved, hostile_records, layers_without_gradient, records_without_gradient
from quintain.dp.step.noise import AT_ONCE
from quintain.dp.training.features import Features, Records
from quintain.dp.training.fitting import fit
from quintain.dp.training.plan import PrivatePlan
from quintain.dp.ways import WAYS, Rows, Watched, Way
from quintain.results.privacy_records import MechanismTest
from quintain.results.specification import Measurement, judged
from quintain.training.loop import isolated_rng

NOISE_STEPS = 4
BATCHES = 200
"""Batches drawn to measure how they are drawn."""
BLOCK = 1 << 16
"""Numbers of one parameter whose noise is measured by itself."""
EQUAL = 2.0**-22
"""Uniform numbers as near as this are all but equal; rounding in float32 moves what the noise tells of them by less."""
FIRST = 1 << 20
"""Weights of a net of one's own among which noise is looked for that was used twice."""
SUMS = 20
"""Sums over random parts of the hostile records, from which follows what each of them adds."""
SLACK = 1e-6
"""By how much of the bound rounding may exceed it; ten times as much may be missing from a record that presses against it."""
RECORDS, SUMS_OF_NET = 6, 16
"""Records that a net of one's own is measured with, and sums over random parts of them."""
SLACK_OF_NET = 0.05
"""By how much of the bound a net of one's own may exceed it: far more than it rounds in its own format, far less than a fault adds."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The tests of one plan.

    Args:
        tests: Each with what was promised and what was found.
    """

    tests: tuple[MechanismTest, ...]

    @property
    def passed(self) -> bool:
        """Whether chance explains all of them."""
        return all(test.passed for test in self.tests)

    def require(self) -> "Measured":
        """Itself, if all passed.

        Raises:
            SpecificationFailure: With every test that failed.
        """
        failed = [test.message for test in self.tests if not test.passed]
        if failed:
            raise SpecificationFailure("; ".join(failed) + "; the epsilon of this code is void: expected what the plan states")
        return self


def measure(plan: PrivatePlan, n: int, *, seed: int | None = None) -> Measured:
    """Train on records made for it, and compare what training does with what the accountant is told.

    Args:
        plan: What is claimed; a plan without noise is held to that.
        n: Number of records.
        seed: For a measurement that can be repeated; fresh entropy by default.

    Returns:
        The tests: if the mechanism is as stated, one of them fails with probability at most 1e-6 (see ``measurements``).
    """
    return Measured(judged(measurements(plan, n, seed=seed)))


def measurements(plan: PrivatePlan, n: int, *, seed: int | None = None, ways: Sequence[str] = ()) -> tuple[Measurement, ...]:
    r"""Noise, inclusion and sensitivity, each through ``fit`` and through an ordinary loop over ``make_private``.

    - noise: records without gradient leave :math:`b\,\tilde g / (\sigma C)` standard normal: spread (chi-square), shape
      (Kolmogorov-Smirnov), as many numbers beyond 2.5 to 4.5 deviations as there should be (binomial), radii and angles of pairs of a
      grid of more than 2^21 values, and no correlation between steps, between layers, or with itself at any distance within and
      across steps (Chernoff); over 135,168 numbers a step, which are drawn in three parts;
    - inclusion: each record is in Bin(T, q) batches, batch sizes vary as Bin(n, q): fixed or shuffled batches do not;
    - sensitivity: without noise, the record that moves the sum most moves it by C, not by more and not by less, on huge, equal, NaN and
      cancelling records, through every kind of layer with a rule.

    Args:
        plan: What is claimed; its copies and shifts of records are left out.
        n: Number of records.
        seed: For a measurement that can be repeated; fresh entropy by default.
        ways: Names of ``WAYS``, where only some matter.
    """
    plan = replace(plan, copies=1, shift=0, ema=0.0)
    found: list[Measurement] = []
    for name in ways or WAYS:
        way = WAYS[name]
        here = None if seed is None else derive(seed, "specification", name)
        measured = (*_noise(plan, way, here), *_inclusion(plan, n, way, here), _sensitivity(plan, way, derive(seed or 0, "net")))
        found += [replace(one, name=f"{one.name}, {name}") for one in measured]
    return tuple(found)


def noise_of_net(net: nn.Module, data: Records, plan: PrivatePlan) -> tuple[Measurement, Measurement]:
    """Measure the noise on all trainable weights of a net of one's own, through ``fit``; nothing is learned of the records.

    Also whether any of it is used twice, within a step or in the next one; among the first 1,048,576 weights.

    Args:
        net: As it is trained; it is copied. Its outputs are multiplied by zero, so that its weights get noise alone.
        data: What it takes.
        plan: With noise.
    """
    scale = plan.noise_multiplier * plan.max_grad_norm / plan.expected_batch_size
    sizes = [size for p in net.parameters() if p.requires_grad for size in _blocks(p.numel())]
    found: list[tuple[float, float]] = []
    total, numbers, first = 0.0, 0, list[Tensor]()

    def observe(_step: int, release: Tensor) -> None:
        nonlocal total, numbers
        z = release.double() / scale
        first.append(z[:FIRST].cpu().clone())
        for block in z.split(sizes):
            mean_square = float(block.square().mean())
            found.append((spread_p(mean_square, len(block))[0], math.sqrt(mean_square)))
            total, numbers = total + mean_square * len(block), numbers + len(block)

    fit(Unmoved(deepcopy(net)), data, replace(plan, steps=2, ema=0.0), on_step=observe)
    found.append((spread_p(total / numbers, numbers)[0], math.sqrt(total / numbers)))
    p_value, measured = min(found)
    text = f"noise of {numbers // 2} weights of the net, over that of the plan: of all, or where it differs most, by parameter"
    spread = Measurement("noise of the net", 1.0, measured, min(1.0, len(found) * p_value), text)
    return spread, _repeated("noise of the net elsewhere", "noise of the net", torch.cat(first).numpy())


def sensitivity_of_net(net: nn.Module, shape: Sequence[int], plan: PrivatePlan) -> Measurement:
    """Measure, through ``fit``, the most that one record moves the clipped sum of a net of one's own: in its layers, sizes and format.

    Records are made up, and the net's outputs are multiplied until gradients are far above the bound. Each batch's sum, without noise, is
    taken apart into one term a record. Where the net itself draws at random (dropout), batches hold one record alone. What rounding moves
    in a net of few bits is far below ``SLACK_OF_NET``; an excess below it is left to ``measurements``, which are in float64.

    Args:
        net: As it is trained; it is copied.
        shape: Of one record, with numbers in [0, 1].
        plan: Whose bound it is.
    """
    bound = plan.max_grad_norm
    loud = Loud(deepcopy(net).train(), 100 * max(bound, 1.0))
    device = next(net.parameters()).device
    x = torch.rand(RECORDS, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad(), isolated_rng(device):
        one, other = loud(x), loud(x)
    count, batch = (RECORDS, RECORDS // 2) if torch.allclose(one, other, rtol=1e-3, equal_nan=True) else (1, 1)
    records = Watched(Features(x[:count].cpu(), one[:count].nan_to_num().argmin(1).cpu()))
    drawn, sums = list[npt.NDArray[np.float64]](), list[Tensor]()

    def observe(_step: int, release: Tensor) -> None:
        drawn.append(np.bincount(records.batch_in_hand(), minlength=len(records)).astype(np.float64))
        sums.append(release.cpu() * batch)

    still = PrivatePlan(0.0, bound, expected_batch_size=batch, steps=SUMS_OF_NET, rate=1e-30)
    fit(loud, records, still, on_step=observe)
    found = _most(np.array(drawn), torch.stack(sums).float()) if batch > 1 else float(torch.stack(sums).norm(dim=1).max())
    text = f"most that one of {len(records)} records made up moves the sum of clipped gradients of the net"
    return Measurement("sensitivity of the net", bound, found, float(found <= bound * (1 + SLACK_OF_NET)), text)


def _most(drawn: npt.NDArray[np.float64], sums: Tensor) -> float:
    """The greatest norm of a record's term, where sums (steps, numbers) are taken for sums of one term a record; and what is left over.

    Worked out from the inner products of the sums, so that no more than these is held.
    """
    if not torch.isfinite(sums).all():
        return math.inf
    products = sum((part.double() @ part.double().T for part in sums.split(BLOCK, dim=1)), torch.zeros(len(sums), len(sums)).double())
    apart = np.linalg.pinv(drawn)
    left = np.eye(len(drawn)) - drawn @ apart
    terms, rest = (np.sqrt(np.einsum("ij,jk,ik->i", m, products.numpy(), m).clip(0)) for m in (apart, left))
    return float(terms.max() + rest.max())


def _repeated(name: str, what: str, z: npt.NDArray[np.float64]) -> Measurement:
    """How much a series of noise is like itself further on, at the distance where that is least likely."""
    p_value, distance, correlation = repeated_p(z)
    text = f"correlation of the {what} with itself {distance} numbers further on, the least likely of {z.size - 1} distances"
    return Measurement(name, 0.0, correlation, p_value, text)


def _digits(z: npt.NDArray[np.float64]) -> Measurement:
    r"""Whether pairs of noise (steps, numbers), as they are drawn together, come of uniform numbers of values enough.

    Of two standard normal numbers, :math:`e^{-(x^2 + y^2) / 2}` and the angle are uniform, whatever pair is taken. Of a pair that the
    transform of Box and Muller makes, they are the words that it was made of.
    """
    halves = [half for piece in np.split(z, range(AT_ONCE // 4, z.shape[1], AT_ONCE // 4), axis=1) for half in np.split(piece, 2, axis=1)]
    x, y = (np.concatenate([half.ravel() for half in halves[side::2]]) for side in (0, 1))
    uniform = np.exp(-(x**2 + y**2) / 2), np.arctan2(y, x) / (2 * np.pi) % 1
    p_value, found, usual = min(crowded_p(one, EQUAL) for one in uniform)
    text = f"numbers that the noise is made of that all but equal another, of {len(x)}"
    return Measurement("noise digits", usual, found, min(1.0, len(uniform) * p_value), text)


def _blocks(size: int) -> list[int]:
    """The parts of a parameter whose noise is measured by itself."""
    return [BLOCK] * (size // BLOCK) + [size % BLOCK] * (size % BLOCK > 0)


def inclusion_measurements(batches: Sequence[Rows], n: int, q: float) -> tuple[Measurement, ...]:
    """Whether batches are drawn as Poisson sampling draws them.

    Args:
        batches: The records of each, from 0 to n - 1.
        n: Number of records.
        q: Probability of each to be in a batch.
    """
    from scipy.special import bdtr, bdtrc

    sizes = np.array([len(rows) for rows in batches], dtype=np.int64)
    counts = np.bincount(np.concatenate(batches).astype(np.int64), minlength=n)
    mean, drawn, trials = float(sizes.mean()), int(sizes.sum()), n * len(sizes)
    if q == 1:
        whole = bool((sizes == n).all())
        return (Measurement("inclusion", n, mean, float(whole), "size of batches that hold every record"),)
    records, p_records = _dispersion(counts, len(sizes), q)
    spread, p_spread = _dispersion(sizes, n, q)
    z = (drawn - trials * q) / math.sqrt(trials * q * (1 - q))
    p_mean = 2 * min(float(bdtr(drawn, trials, q)), float(bdtrc(drawn - 1, trials, q)) if drawn else 1.0, 0.5)
    return (
        Measurement("batch size", n * q, mean, p_mean, f"mean size of {len(sizes)} batches", z),
        Measurement(
            "inclusion", 1.0, records, p_records, f"spread of how often a record is drawn, over that of Bin({len(sizes)}, {q:.4g})"
        ),
        Measurement("batch size spread", 1.0, spread, p_spread, f"spread of batch sizes, over that of Bin({n}, {q:.4g})"),
    )


def _noise(plan: PrivatePlan, way: Way, seed: int | None) -> tuple[Measurement, ...]:
    from scipy.special import ndtr

    net = layers_without_gradient()
    x, y = records_without_gradient(2 * plan.expected_batch_size, net)
    steps = torch.stack([step.release.double() for step in way(net, x, y, replace(plan, steps=NOISE_STEPS), seed)])
    scale = plan.noise_multiplier * plan.max_grad_norm
    if scale == 0 or math.isinf(plan.max_grad_norm):
        found = float(steps.abs().max())
        return (Measurement("noise", 0.0, found, float(found == 0), "largest noise of a plan that states none"),)
    z = (steps * plan.expected_batch_size / scale).numpy()
    p_spread, z_spread = spread_p(float(np.square(z).mean()), z.size)
    p_shape, distance = shape_p(ndtr(z.ravel()))
    p_tails, bound, beyond, usual = tails_p(z)

    def alike(what: str, one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> Measurement:
        p_value, cosine = cosine_p(one.ravel(), other.ravel())
        text = f"correlation of the noise of two {what}s"
        return Measurement(f"noise between {what}s", 0.0, cosine, p_value, text, cosine * math.sqrt(one.size))

    measured = scale * math.sqrt(float(np.square(z).mean()))
    return (
        Measurement("noise", scale, measured, p_spread, f"standard deviation of the noise in the sum, {z.size} draws", z_spread),
        Measurement("noise shape", 0.0, distance, p_shape, "distance of the noise from Gaussian"),
        Measurement("noise tails", usual, beyond, p_tails, f"numbers of the noise beyond {bound:g} deviations"),
        _digits(z),
        alike("step", z[1::2], z[::2]),
        alike("layer", *np.split(z, 2, axis=1)),
        _repeated("noise elsewhere", "noise", z.ravel()),
    )


def _inclusion(plan: PrivatePlan, n: int, way: Way, seed: int | None) -> tuple[Measurement, ...]:
    steps = way(nn.Linear(1, 2), torch.zeros(n, 1), torch.zeros(n, dtype=torch.long), replace(plan, steps=BATCHES), seed)
    return inclusion_measurements([step.rows for step in steps], n, plan.sample_rate(n))


def _dispersion(counts: npt.NDArray[np.int64], trials: int, q: float) -> tuple[float, float]:
    """Mean squared deviation of counts from Bin(trials, q), over its variance; with the p-value of the gamma law of its exact variance.

    It is 1 where too few were drawn for that law to be near.
    """
    from scipy.special import gammainc, gammaincc

    variance = trials * q * (1 - q)
    ratio = float(np.mean((counts - trials * q) ** 2)) / variance
    if variance * len(counts) < BATCHES:
        return ratio, 1.0
    kurtosis = (1 - 6 * q * (1 - q)) / variance
    shape = len(counts) / (2 + kurtosis)
    return ratio, 2 * float(min(gammainc(shape, ratio * shape), gammaincc(shape, ratio * shape), 0.5))


def _sensitivity(plan: PrivatePlan, way: Way, seed: int) -> Measurement:
    bound = plan.max_grad_norm
    if math.isinf(bound):
        return Measurement("sensitivity", bound, bound, 1.0, "no bound is claimed")
    net = EveryLayer(seed, gain=100 * max(bound, 1.0))
    x, y = hostile_records(net)
    still = PrivatePlan(0.0, bound, expected_batch_size=len(x) // 2, steps=SUMS, rate=1e-30)
    steps = way(net, x, y, still, 0)
    drawn = np.array([np.bincount(step.rows, minlength=len(x)) for step in steps], dtype=np.float64)
    sums = torch.stack([step.release for step in steps]).numpy() * still.expected_batch_size
    # What each record adds, if the sums are sums of one term a record; and what is then left over, since one record moves another's term.
    terms = np.linalg.lstsq(drawn, sums, rcond=None)[0] if np.isfinite(sums).all() else np.full((len(x), 1), np.inf)
    left = np.linalg.norm(sums - drawn @ terms, axis=1).max() if np.isfinite(terms).all() else math.inf
    found = float(np.linalg.norm(terms, axis=1).max() + left)
    text = f"most that one of {len(x)} hostile records moves the sum of clipped gradients"
    return Measurement("sensitivity", bound, found, float(bound * (1 - 10 * SLACK) <= found <= bound * (1 + SLACK)), text)
