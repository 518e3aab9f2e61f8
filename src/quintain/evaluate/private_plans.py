"""Budgets of private training: the plans that keep them, what those cost, and the same without any training."""

import hashlib
import hmac
import math
import secrets
from dataclasses import dataclass
from functools import partial

import numpy as np

from quintain.core.errors import SettingError
from quintain.data.dataset import Dataset
from quintain.dp import PrivatePlan, accounting
from quintain.dp.accounting.calibration import MAX_EPSILON
from quintain.dp.accounting.planning import plan_grid, steps_left
from quintain.evaluate.outcome import Outcome
from quintain.results.bounds import Bound
from quintain.results.privacy_records import PlanResult, PrivacyPlan
from quintain.results.quantity import Basis, Metric, Quantity, Side

FEW = 10
"""Records of a class below which its mere existence tells of them."""

ACCOUNTANT = "PLD (dp-accounting)"
ASSUMES = ("Gaussian noise and Poisson sampling as specified", "initial weights and settings do not depend on the data")
STEPS = (0.25, 1, 4)
BATCHES = (0.25, 0.5, 1, 2, 4)
"""Axes of a plan's grids, as multiples of what was asked."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a private run may cost, and its public constants.

    Args:
        epsilon, delta: The target.
        batch: Expected examples a step.
        steps: Noisy steps.
        clip: C.
        rate, momentum: Of the descent; free in privacy.
        ema: Decay of the mean of the weights, which is what training ends with: free too, and it evens out the noise of the last steps.

    Raises:
        SettingError: If a number is out of its range.
    """

    epsilon: float = 3.0
    delta: float = 1e-5
    batch: int = 512
    steps: int = 276
    clip: float = 1.0
    rate: float = 1.0
    momentum: float = 0.5
    ema: float = 0.9

    def __post_init__(self) -> None:
        ranges = {
            "epsilon": (
                0 < self.epsilon <= MAX_EPSILON,
                f"a positive finite number up to {MAX_EPSILON:g}, above which nothing is promised, such as 3",
            ),
            "delta": (0 < self.delta < 1, "a number strictly between 0 and 1, well below one over the records, such as 1e-5"),
            "batch": (self.batch >= 1, "at least 1, such as 512"),
            "steps": (self.steps >= 1, "at least 1, such as 276"),
            "max-grad-norm": (0 < self.clip < math.inf, "a positive finite number, such as 1"),
            "rate": (0 < self.rate < math.inf, "a positive finite number, such as 1"),
        }
        got = dict(zip(ranges, (self.epsilon, self.delta, self.batch, self.steps, self.clip, self.rate), strict=True))
        for name, (good, expected) in ranges.items():
            if not good:
                raise SettingError(f"got {name} {got[name]}; expected {expected}")

    def plan(self, records: int, *, noise: float | None = None) -> PrivatePlan:
        """The plan with the least noise that keeps the budget on so many records, or with the noise given.

        Raises:
            SettingError: If a batch would hold more than all records.
        """
        if self.batch > records:
            raise SettingError(f"got batch {self.batch} out of {records} records; expected 1 to {records}")
        if noise is None:
            noise = accounting.calibrate_noise_multiplier(self.epsilon, self.delta, self.batch / records, self.steps)
        return PrivatePlan(noise, self.clip, self.batch, self.steps, self.rate, self.momentum, self.delta, self.ema)


def describe(plan: PrivatePlan, records: int) -> PrivacyPlan:
    """A plan's public constants and what they cost by the accountant, whatever a run's own ledger says."""
    return PrivacyPlan(
        plan.noise_multiplier,
        plan.max_grad_norm,
        plan.expected_batch_size,
        plan.sample_rate(records),
        plan.steps,
        plan.delta,
        plan.epsilon(records),
        ACCOUNTANT,
    )


@dataclass(frozen=True, slots=True)
class Protected:
    """The records of a private run, as its results may name them.

    A plain hash of them would tell whoever has all but one which the last one is: the very thing that epsilon bounds.

    Args:
        count: How many; public.
        name: A keyed hash of their content, equal within one run and of no meaning outside it.
    """

    count: int
    name: str

    @classmethod
    def of(cls, train: Dataset, salt: bytes | None = None) -> "Protected":
        """The records under a secret salt, which is never shown; a fresh one if none is given."""
        salt = secrets.token_bytes(32) if salt is None else salt
        return cls(len(train), hmac.new(salt, train.hash.encode(), hashlib.sha256).hexdigest())


def quantity(plan: PrivatePlan, records: Protected) -> Quantity:
    """The epsilon of a plan: its subject is the mechanism, not the weights that came out."""
    mechanism = hashlib.sha256(f"dp-sgd {plan!r} {records.count}".encode()).hexdigest()
    return Quantity(
        Metric.EPSILON,
        mechanism,
        records.name,
        delta=plan.delta,
        adjacency=accounting.ADJACENCY,
        privacy_unit="image",
        released="all iterates",
    )


def accounted(plan: PrivatePlan, records: Protected, epsilon: float) -> Bound:
    """The accountant's side."""
    return Bound(quantity(plan, records), Side.UPPER, epsilon, Basis.PROOF, None, ACCOUNTANT, ASSUMES)


def delta_warnings(delta: float, records: int) -> tuple[str, ...]:
    """What is wrong with a delta for so many records."""
    if delta < 1 / records:
        return ()
    return (f"delta = {delta:g} is not below 1/{records}: publishing one random record in full would pass; choose a smaller one",)


def class_warnings(train: Dataset) -> tuple[str, ...]:
    """What to tell the data's owner, and to write into no result: classes that nobody named, and that few records show to exist."""
    if train.class_names != tuple(map(str, range(train.classes))):
        return ()
    counts = np.bincount(train.labels, minlength=train.classes)
    few = [f"class {label} has {count}" for label, count in enumerate(counts) if 0 < count < FEW]
    if not few:
        return ()
    return (
        f"{', '.join(few)} of {len(train)} records: the number of classes was read off the labels, and the shape of the "
        "released weights shows it without noise; name all classes that there may be, in class_names of the .npz, or leave them out",
    )


def planned_outcome(budget: Budget, records: int, *, noise: float | None = None, batches: tuple[int, ...] = ()) -> Outcome:
    """What a budget buys, without training: noise, steps that fit in, and both over a grid of batches and steps.

    Args:
        budget: The target, and the batch and steps that are asked about.
        records: n, public.
        noise: A noise multiplier to ask about; by default the least that keeps the budget.
        batches: Rows of the grid; by default multiples of the budget's batch.

    Raises:
        SettingError: If a number is out of its range.
    """
    if noise is not None and not 0 < noise < math.inf:
        raise SettingError(f"got noise-multiplier {noise}; expected a positive finite number, such as 1.1")
    plan = budget.plan(records, noise=noise)
    sigma, rate = plan.noise_multiplier, plan.sample_rate(records)
    rows = tuple(sorted({*batches, budget.batch} if batches else {max(1, min(records, round(budget.batch * by))) for by in BATCHES}))
    columns = tuple(sorted({max(1, round(budget.steps * by)) for by in STEPS}))
    axes = partial(plan_grid, num_records=records, batch_sizes=rows, steps=columns, delta=budget.delta)
    body = PlanResult(
        describe(plan, records),
        budget.epsilon,
        records,
        steps_left((), epsilon=budget.epsilon, delta=budget.delta, noise_multiplier=sigma, sample_rate=rate),
        rows,
        columns,
        axes(epsilon=budget.epsilon).noise_multiplier,
        axes(noise_multiplier=sigma).epsilon,
        delta_warnings(budget.delta, records),
    )
    return Outcome(body, notes=body.warnings)
