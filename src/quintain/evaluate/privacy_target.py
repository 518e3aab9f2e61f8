"""The privacy target of a training: the plans that keep it, and what those cost."""

import hashlib
import hmac
import math
import secrets
from dataclasses import dataclass

import numpy as np

from quintain.core.errors import SettingError
from quintain.data.dataset import Dataset
from quintain.dp import PrivatePlan, accounting
from quintain.dp.accounting.calibration import MAX_EPSILON
from quintain.results.bounds import Bound
from quintain.results.privacy_records import PrivacyPlan
from quintain.results.quantity import Basis, Metric, Quantity, Side

FEW = 10
"""Records of a class below which its mere existence tells of them."""

ACCOUNTANT = "PLD (dp-accounting)"
ASSUMES = (
    "Gaussian noise and Poisson sampling as specified",
    "initial weights and settings do not depend on the data",
)


@dataclass(frozen=True, slots=True)
class PrivacyTarget:
    """The epsilon and delta that a private training may cost, and its public settings.

    Args:
        epsilon, delta: The target.
        batch_size: Expected batch size.
        steps: Number of noisy steps.
        max_grad_norm: The clip norm.
        learning_rate, momentum: Of the optimizer; they cost no privacy.
        ema: Decay of the mean of the weights, which is what training ends with: free too, and it evens out
            the noise of the last steps.

    Raises:
        SettingError: If a number is out of its range.
    """

    epsilon: float = 3.0
    delta: float = 1e-5
    batch_size: int = 512
    steps: int = 276
    max_grad_norm: float = 1.0
    learning_rate: float = 1.0
    momentum: float = 0.5
    ema: float = 0.9

    def __post_init__(self) -> None:
        ranges = {
            "epsilon": (
                0 < self.epsilon <= MAX_EPSILON,
                f"a positive finite number up to {MAX_EPSILON:g}, above which nothing is promised, such as 3",
            ),
            "delta": (
                0 < self.delta < 1,
                "a number strictly between 0 and 1, well below one over the records, such as 1e-5",
            ),
            "batch-size": (self.batch_size >= 1, "at least 1, such as 512"),
            "steps": (self.steps >= 1, "at least 1, such as 276"),
            "max-grad-norm": (0 < self.max_grad_norm < math.inf, "a positive finite number, such as 1"),
            "learning-rate": (0 < self.learning_rate < math.inf, "a positive finite number, such as 1"),
        }
        given = (
            self.epsilon,
            self.delta,
            self.batch_size,
            self.steps,
            self.max_grad_norm,
            self.learning_rate,
        )
        got = dict(zip(ranges, given, strict=True))
        for name, (good, expected) in ranges.items():
            if not good:
                raise SettingError(f"got {name} {got[name]}; expected {expected}")

    def plan(self, records: int, *, noise: float | None = None) -> PrivatePlan:
        """Return the plan with the least noise that keeps the target on so many records.

        Or with the noise given.

        Raises:
            SettingError: If a batch would hold more than all records.
        """
        if self.batch_size > records:
            raise SettingError(
                f"got batch {self.batch_size} out of {records} records; expected 1 to {records}"
            )
        if noise is None:
            noise = accounting.calibrate_noise_multiplier(
                self.epsilon, self.delta, self.batch_size / records, self.steps
            )
        return PrivatePlan(
            noise,
            self.max_grad_norm,
            self.batch_size,
            self.steps,
            self.learning_rate,
            self.momentum,
            self.delta,
            self.ema,
        )


def plan_record(plan: PrivatePlan, records: int) -> PrivacyPlan:
    """Return a plan's public settings and what they cost by the accountant.

    Whatever a run's own ledger says.
    """
    return PrivacyPlan(
        noise_multiplier=plan.noise_multiplier,
        max_grad_norm=plan.max_grad_norm,
        expected_batch_size=plan.expected_batch_size,
        sample_rate=plan.sample_rate(records),
        steps=plan.steps,
        delta=plan.delta,
        epsilon=plan.epsilon(records),
        accountant=ACCOUNTANT,
    )


@dataclass(frozen=True, slots=True)
class Protected:
    """The records of a private run, as its results may name them.

    A plain hash of them would tell whoever has all but one which the last one is: the very thing that epsilon
    bounds.

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


def epsilon_quantity(plan: PrivatePlan, records: Protected) -> Quantity:
    """Return the quantity epsilon of a plan: its subject is the mechanism, not the weights that came out."""
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


def epsilon_upper_bound(plan: PrivatePlan, records: Protected, epsilon: float) -> Bound:
    """Return the accountant's upper bound on epsilon."""
    return Bound(epsilon_quantity(plan, records), Side.UPPER, epsilon, Basis.PROOF, None, ACCOUNTANT, ASSUMES)


def delta_warnings(delta: float, records: int) -> tuple[str, ...]:
    """Return what is wrong with a delta for so many records."""
    if delta < 1 / records:
        return ()
    return (
        f"delta = {delta:g} is not below 1/{records}: publishing one random record in full would pass; "
        "choose a smaller one",
    )


def class_warnings(train: Dataset) -> tuple[str, ...]:
    """Return warnings for the data's owner alone, of classes that nobody named.

    And that few records show to exist.
    """
    if train.class_names != tuple(map(str, range(train.num_classes))):
        return ()
    counts = np.bincount(train.labels, minlength=train.num_classes)
    few = [f"class {label} has {count}" for label, count in enumerate(counts) if 0 < count < FEW]
    if not few:
        return ()
    return (
        f"{', '.join(few)} of {len(train)} records: the number of classes was read off the labels, and the "
        "shape of the released weights shows it without noise; name all classes that there may be, in "
        "class_names of the .npz, or leave them out",
    )
