"""Tests of whether private training does what its epsilon assumes.

Noise, inclusion of records and sensitivity are measured on trainings by ``fit`` and by a loop over
``make_private``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from quintain.core.errors import MechanismError
from quintain.core.p_values import (
    chi_square_test,
    cosine_test,
    kolmogorov_test,
    magnitudes_to_normal,
    small_gap_test,
    tail_test,
)
from quintain.core.seeds import derive_seed
from quintain.dp.noise_tests import (
    autocorrelation_measurements,
    first_numbers,
    similarity_measurements,
    variation_measurements,
)
from quintain.dp.observed_training import TRAINERS, ObservedTrainer, Rows
from quintain.dp.randomness.stream import CHUNK_BYTES
from quintain.dp.replay import weights_measurement
from quintain.dp.specimens import (
    EveryLayer,
    hostile_records,
    layers_without_gradient,
    records_without_gradient,
)
from quintain.dp.training.plan import PrivatePlan
from quintain.results.privacy_records import MechanismTest
from quintain.results.specification import Measurement, bonferroni_tests

NOISE_STEPS = 4
"""Steps in which the noise is measured."""
BATCHES = 200
"""Batches in which the inclusion of records is measured."""
NEARLY_EQUAL = 2.0**-22
"""Uniform numbers nearer than this count as equal; float32 rounding of the noise moves them by less."""
SUMS = 20
"""Sums over random subsets of the hostile records, from which each record's term is solved for."""
NORM_TOLERANCE = 1e-6
"""Relative error by which rounding may exceed the bound on sensitivity; the largest term may fall short of
it by ten times as much.
"""


@dataclass(frozen=True, slots=True)
class MechanismTests:
    """The mechanism tests of one plan.

    Args:
        tests: Each with the expected and the measured value.
    """

    tests: tuple[MechanismTest, ...]

    @property
    def passed(self) -> bool:
        """Whether all tests passed."""
        return all(test.passed for test in self.tests)

    def raise_if_failed(self) -> "MechanismTests":
        """Itself, if all passed.

        Raises:
            MechanismError: With every test that failed.
        """
        failed = [test.message for test in self.tests if not test.passed]
        if failed:
            raise MechanismError(
                "; ".join(failed) + "; the epsilon of this code is void: expected what the plan states"
            )
        return self


def verify_mechanism(plan: PrivatePlan, num_records: int, *, seed: int | None = None) -> MechanismTests:
    """Train on synthetic records, and compare what training does with what the accountant assumes.

    Args:
        plan: The plan whose claims are tested. A plan without noise is tested to add none.
        num_records: Number of records.
        seed: Makes the measurement repeatable; fresh entropy by default.

    Returns:
        The tests: if the mechanism is as stated, one of them fails with probability at most 1e-6 (see
        ``measurements``).
    """
    return MechanismTests(bonferroni_tests(measurements(plan, num_records, seed=seed)))


def measurements(
    plan: PrivatePlan, num_records: int, *, seed: int | None = None, trainers: Sequence[str] = ()
) -> tuple[Measurement, ...]:
    r"""Noise, inclusion and sensitivity, each through ``fit`` with its state kept and through an ordinary
    loop over ``make_private``.

    - noise: records without gradient leave :math:`b\,\tilde g / (\sigma C)` standard normal: spread
      (chi-square), shape (Kolmogorov-Smirnov), as many numbers beyond 2.5 to 4.5 deviations as there should
      be (binomial), radii and angles of pairs of a grid of more than 2^21 values, and no correlation between
      steps, between layers, or with itself at any distance within and across steps, with signs or without
      (Chernoff); no layer, down to a single number, whose noise is that of another step or layer; sums and
      sums of squares, of each layer and of all, that vary as they should (too exact is as wrong as too far);
      over 135,254 numbers a step, which are drawn in three parts;
    - weights: they move by what was released, through the plan's rate and momentum, and by nothing else;
    - inclusion: each record is in Bin(T, q) batches, in each of them once, and batch sizes vary as Bin(n, q):
      fixed or shuffled batches do not;
    - sensitivity: without noise, the record that moves the sum most moves it by C, not by more and not by
      less, on huge, equal, NaN and cancelling records, through every kind of layer with a rule.

    Args:
        plan: What is claimed; its augmentations and weight averaging are switched off.
        num_records: Number of records.
        seed: For a measurement that can be repeated; fresh entropy by default.
        trainers: Names of ``TRAINERS`` to measure; all if not given.
    """
    plan = replace(plan, augmentations_per_record=1, max_shift_pixels=0, ema_decay=0.0)
    found: list[Measurement] = []
    for name in trainers or TRAINERS:
        trainer = TRAINERS[name]
        trainer_seed = None if seed is None else derive_seed(seed, "specification", name)
        measured = (
            *_noise(plan, trainer, trainer_seed),
            *_inclusion(plan, num_records, trainer, trainer_seed),
            _sensitivity(plan, trainer, derive_seed(seed or 0, "net")),
        )
        found += [replace(one, name=f"{one.name}, {name}") for one in measured]
    return tuple(found)


def _digits(z: npt.NDArray[np.float64]) -> Measurement:
    r"""Test whether noise (steps, numbers) comes from uniform numbers that take enough different values.

    Of two independent standard normal numbers, :math:`e^{-(x^2 + y^2) / 2}` and the angle are uniform in
    [0, 1]. Of a pair that the Box-Muller transform made, they are the two uniform numbers that it was made
    from: if these have few bits, too many of them are equal.
    """
    # Noise is drawn in chunks; the two halves of a chunk are the x and the y of its pairs.
    halves = [
        half
        for chunk in np.split(z, range(CHUNK_BYTES // 4, z.shape[1], CHUNK_BYTES // 4), axis=1)
        for half in np.split(chunk, 2, axis=1)
    ]
    x, y = (np.concatenate([half.ravel() for half in halves[side::2]]) for side in (0, 1))
    uniform = np.exp(-(x**2 + y**2) / 2), np.arctan2(y, x) / (2 * np.pi) % 1
    p_value, found, usual = min(small_gap_test(one, NEARLY_EQUAL) for one in uniform)
    text = f"numbers that the noise is made of that all but equal another, of {len(x)}"
    return Measurement("noise digits", usual, found, min(1.0, len(uniform) * p_value), text)


def inclusion_measurements(batches: Sequence[Rows], num_records: int, q: float) -> tuple[Measurement, ...]:
    """Test whether batches are Poisson samples, with each record at most once in a batch.

    Args:
        batches: The indices of the records in each batch, from 0 to n - 1.
        num_records: Number of records n.
        q: Sampling rate: the probability of a record to be in a batch.
    """
    from scipy.special import bdtr, bdtrc

    sizes = np.array([len(rows) for rows in batches], dtype=np.int64)
    counts = np.bincount(np.concatenate(batches).astype(np.int64), minlength=num_records)
    twice = sum(len(rows) - len(np.unique(rows)) for rows in batches)
    once = Measurement(
        "records twice", 0.0, twice, float(not twice), f"rows of {len(sizes)} batches that are there already"
    )
    mean, drawn, trials = float(sizes.mean()), int(sizes.sum()), num_records * len(sizes)
    if q == 1:
        whole = bool((sizes == num_records).all())
        return (
            Measurement(
                "inclusion", num_records, mean, float(whole), "size of batches that hold every record"
            ),
            once,
        )
    records, p_records = _dispersion(counts, len(sizes), q)
    spread, p_spread = _dispersion(sizes, num_records, q)
    z = (drawn - trials * q) / math.sqrt(trials * q * (1 - q))
    p_mean = 2 * min(float(bdtr(drawn, trials, q)), float(bdtrc(drawn - 1, trials, q)) if drawn else 1.0, 0.5)
    return (
        Measurement(
            name="batch size",
            expected=num_records * q,
            measured=mean,
            p_value=p_mean,
            description=f"mean size of {len(sizes)} batches",
            z=z,
        ),
        Measurement(
            "inclusion",
            1.0,
            records,
            p_records,
            f"spread of how often a record is drawn, over that of Bin({len(sizes)}, {q:.4g})",
        ),
        Measurement(
            "batch size spread",
            1.0,
            spread,
            p_spread,
            f"spread of batch sizes, over that of Bin({num_records}, {q:.4g})",
        ),
        once,
    )


def _noise(plan: PrivatePlan, trainer: ObservedTrainer, seed: int | None) -> tuple[Measurement, ...]:
    from scipy.special import ndtr

    net = layers_without_gradient()
    x, y = records_without_gradient(2 * plan.expected_batch_size, net)
    taken = trainer(net, x, y, replace(plan, steps=NOISE_STEPS, learning_rate=1.0), seed)
    steps = torch.stack([step.release.double() for step in taken])
    scale = plan.noise_multiplier * plan.max_grad_norm
    if scale == 0 or math.isinf(plan.max_grad_norm):
        found = float(steps.abs().max())
        return (
            Measurement("noise", 0.0, found, float(found == 0), "largest noise of a plan that states none"),
        )
    z = (steps * plan.expected_batch_size / scale).numpy()
    p_spread, z_spread = chi_square_test(float(np.square(z).mean()), z.size)
    p_shape, distance = kolmogorov_test(ndtr(z.ravel()))
    p_tails, bound, beyond, usual = tail_test(z)

    def correlation_test(
        what: str, one: npt.NDArray[np.float64], other: npt.NDArray[np.float64], of: str = ""
    ) -> Measurement:
        p_value, cosine = cosine_test(one.ravel(), other.ravel())
        text = f"correlation of the noise{of} of two {what}s"
        return Measurement(
            name=f"noise{of} between {what}s",
            expected=0.0,
            measured=cosine,
            p_value=p_value,
            description=text,
            z=cosine * math.sqrt(one.size),
        )

    numels = [p.numel() for p in net.parameters()]
    layers = np.array(numels)
    sums, squares = (np.add.reduceat(x, np.cumsum(layers) - layers, axis=1) for x in (z, np.square(z)))
    followed = weights_measurement([step.drift for step in taken])
    measured = scale * math.sqrt(float(np.square(z).mean()))
    return (
        Measurement(
            name="noise",
            expected=scale,
            measured=measured,
            p_value=p_spread,
            description=f"standard deviation of the noise in the sum, {z.size} draws",
            z=z_spread,
        ),
        Measurement("noise shape", 0.0, distance, p_shape, "distance of the noise from Gaussian"),
        Measurement(
            "noise tails", usual, beyond, p_tails, f"numbers of the noise beyond {bound:g} deviations"
        ),
        _digits(z),
        correlation_test("step", z[1::2], z[::2]),
        correlation_test(
            "step", magnitudes_to_normal(z[1::2]), magnitudes_to_normal(z[::2]), " without signs"
        ),
        correlation_test("layer", z[:, : z.shape[1] // 2], z[:, z.shape[1] // 2 :]),
        *variation_measurements("noise", sums, squares, layers, (np.arange(len(layers)), np.array([0]))),
        *autocorrelation_measurements("noise", z.ravel()),
        *similarity_measurements(
            "noise", first_numbers(z, numels), numels, torch.finfo(taken[0].release.dtype).eps
        ),
        *(() if followed is None else (followed,)),
    )


def _inclusion(
    plan: PrivatePlan, num_records: int, trainer: ObservedTrainer, seed: int | None
) -> tuple[Measurement, ...]:
    steps = trainer(
        nn.Linear(1, 2),
        torch.zeros(num_records, 1),
        torch.zeros(num_records, dtype=torch.long),
        replace(plan, steps=BATCHES),
        seed,
    )
    return inclusion_measurements([step.rows for step in steps], num_records, plan.sample_rate(num_records))


def _dispersion(counts: npt.NDArray[np.int64], trials: int, q: float) -> tuple[float, float]:
    """Return the mean squared deviation of counts from the mean of Bin(trials, q), over its variance.

    With it comes its p-value, by the gamma distribution of the same mean and variance. It is 1 where too few
    were drawn for that approximation, and where the variance of the squares is zero (one trial at q = 1/2:
    every count is equally far from the mean). The lower tail is at least the probability that all counts are
    as near to their mean as integers can be.
    """
    from scipy.special import gammainc, gammaincc
    from scipy.stats import binom

    variance = trials * q * (1 - q)
    ratio = float(np.mean((counts - trials * q) ** 2)) / variance
    variance_of_square = 2 + (1 - 6 * q * (1 - q)) / variance
    if variance * len(counts) < BATCHES or variance_of_square <= 0:
        return ratio, 1.0
    shape = len(counts) / variance_of_square
    nearest = float(binom.pmf(int((trials + 1) * q), trials, q)) ** len(counts)
    near, far = max(float(gammainc(shape, ratio * shape)), nearest), float(gammaincc(shape, ratio * shape))
    return ratio, 2 * min(near, far, 0.5)


def _sensitivity(plan: PrivatePlan, trainer: ObservedTrainer, seed: int) -> Measurement:
    bound = plan.max_grad_norm
    if math.isinf(bound):
        return Measurement("sensitivity", bound, bound, 1.0, "no bound is claimed")
    net = EveryLayer(seed, gain=100 * max(bound, 1.0))
    x, y = hostile_records(net)
    noiseless = PrivatePlan(0.0, bound, expected_batch_size=len(x) // 2, steps=SUMS, learning_rate=1e-30)
    steps = trainer(net, x, y, noiseless, 0)
    drawn = np.array([np.isin(np.arange(len(x)), step.rows) for step in steps], dtype=np.float64)
    sums = torch.stack([step.release for step in steps]).numpy() * noiseless.expected_batch_size
    # Least squares for one term per record. The residual is not zero if one record changes another's term; it
    # is added to the largest term.
    terms = (
        np.linalg.lstsq(drawn, sums, rcond=None)[0]
        if np.isfinite(sums).all()
        else np.full((len(x), 1), np.inf)
    )
    residual = np.linalg.norm(sums - drawn @ terms, axis=1).max() if np.isfinite(terms).all() else math.inf
    found = float(np.linalg.norm(terms, axis=1).max() + residual)
    text = f"most that one of {len(x)} hostile records moves the sum of clipped gradients"
    return Measurement(
        "sensitivity",
        bound,
        found,
        float(bound * (1 - 10 * NORM_TOLERANCE) <= found <= bound * (1 + NORM_TOLERANCE)),
        text,
    )
