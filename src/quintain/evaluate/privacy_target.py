"""The epsilon and delta that a private training may cost, and the plans that keep to them."""

import hashlib
import hmac
import math
import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quintain.core.errors import SettingError
from quintain.data.dataset import Dataset
from quintain.dp import PrivatePlan, accounting
from quintain.dp.accounting.calibration import MAX_EPSILON
from quintain.dp.training.resume import load_or_make_salt
from quintain.results.bounds import Bound
from quintain.results.privacy_records import PrivacyPlan
from quintain.results.quantity import Basis, Metric, Quantity, Side

MIN_CLASS_RECORDS = 10
"""A class with fewer records gives them away by its mere existence, which the released model shows."""

ACCOUNTANT = "PLD (dp-accounting)"
ASSUMPTIONS = (
    "Gaussian noise and Poisson sampling as specified",
    "initial weights and settings do not depend on the data",
)


DEFAULT_BATCH_SIZE = 512
"""The expected batch size where there are records enough."""


def default_batch_size(num_records: int) -> int:
    """Return the expected batch size for so many records: 512, or an eighth of fewer than 4,096 records.

    Large batches drown the noise of a step, but subsampling amplifies privacy only while a batch is a small
    part of the records.
    """
    return max(1, min(DEFAULT_BATCH_SIZE, num_records // 8))


@dataclass(frozen=True, slots=True)
class PrivacyTarget:
    """The epsilon and delta that a private training may cost, and its public settings.

    Args:
        epsilon, delta: The target.
        batch_size: Expected batch size.
        steps: Number of noisy steps.
        max_grad_norm: The clip norm.
        learning_rate, momentum: Settings of the optimizer, which cost no privacy.
        ema: Decay of the moving average of the weights, with which training ends. It costs no privacy either,
            and averages the noise of the last steps.

    Raises:
        SettingError: If a number is out of its range.
    """

    epsilon: float = 3.0
    delta: float = 1e-5
    batch_size: int = DEFAULT_BATCH_SIZE
    steps: int = 276
    max_grad_norm: float = 1.0
    learning_rate: float = 1.0
    momentum: float = 0.5
    ema: float = 0.9

    def __post_init__(self) -> None:
        ranges = {
            "epsilon": (
                0 < self.epsilon <= MAX_EPSILON,
                f"a positive finite number up to {MAX_EPSILON:g}, above which none is a guarantee, such as 3",
            ),
            "delta": (
                0 < self.delta < 1,
                "a number strictly between 0 and 1, well below one over the records, such as 1e-5",
            ),
            "batch_size": (self.batch_size >= 1, "at least 1, such as 512"),
            "steps": (self.steps >= 1, "at least 1, such as 276"),
            "max_grad_norm": (0 < self.max_grad_norm < math.inf, "a positive finite number, such as 1"),
            "learning_rate": (0 < self.learning_rate < math.inf, "a positive finite number, such as 1"),
        }
        for name, (in_range, expected) in ranges.items():
            if not in_range:
                option = name.replace("_", "-")  # as the command line calls it
                raise SettingError(f"got {option} {getattr(self, name)}; expected {expected}")

    def plan(self, num_records: int, *, noise: float | None = None) -> PrivatePlan:
        """Return the plan that keeps the target with the smallest noise, or that with a given noise.

        Args:
            num_records: Number of training records.
            noise: The noise multiplier; the smallest that keeps the target if not given.

        Raises:
            SettingError: If the batch size exceeds the number of records.
        """
        if self.batch_size > num_records:
            raise SettingError(
                f"got batch {self.batch_size} out of {num_records} records; expected 1 to {num_records}, "
                f"such as --batch-size {num_records}"
            )
        if noise is None:
            noise = accounting.calibrate_noise_multiplier(
                self.epsilon, self.delta, self.batch_size / num_records, self.steps
            )
        return PrivatePlan(
            noise_multiplier=noise,
            max_grad_norm=self.max_grad_norm,
            expected_batch_size=self.batch_size,
            steps=self.steps,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            delta=self.delta,
            ema_decay=self.ema,
        )


def plan_record(plan: PrivatePlan, num_records: int) -> PrivacyPlan:
    """Return the public settings of a plan and the epsilon that they cost by the accountant.

    The epsilon is that of the plan; the ledger of a run that was stopped early holds less.

    Args:
        plan: The plan.
        num_records: Number of training records.
    """
    return PrivacyPlan(
        noise_multiplier=plan.noise_multiplier,
        max_grad_norm=plan.max_grad_norm,
        expected_batch_size=plan.expected_batch_size,
        sample_rate=plan.sample_rate(num_records),
        steps=plan.steps,
        delta=plan.delta,
        epsilon=plan.epsilon(num_records),
        accountant=ACCOUNTANT,
    )


@dataclass(frozen=True, slots=True)
class ProtectedRecords:
    """The training records of a private run, as its results may refer to them.

    A plain hash would allow those who have all records but one to find the last one by trying: what epsilon
    bounds.

    Args:
        count: The number of records, which is public.
        keyed_hash: A hash of their content under a secret key: equal within one run, and of no meaning
            outside it.
        unit: What one of them is: an image, or a record of numbers.
    """

    count: int
    keyed_hash: str
    unit: str = "image"

    @classmethod
    def from_dataset(cls, train: Dataset, salt: bytes | None = None) -> "ProtectedRecords":
        """Return the records of a data set, hashed under a secret salt; a new one if none is given."""
        salt = secrets.token_bytes(32) if salt is None else salt
        keyed_hash = hmac.new(salt, train.hash.encode(), hashlib.sha256).hexdigest()
        return cls(len(train), keyed_hash, "image" if len(train.shape) == 3 else "record")

    @classmethod
    def of_run(cls, train: Dataset, unfinished: Path | None) -> "ProtectedRecords":
        """Return the records of a data set, hashed under the salt that a run keeps while it is unfinished."""
        return cls.from_dataset(train, None if unfinished is None else load_or_make_salt(unfinished))


def epsilon_quantity(plan: PrivatePlan, records: ProtectedRecords) -> Quantity:
    """Return the quantity epsilon of a plan; its subject is the mechanism, not the trained weights."""
    mechanism = hashlib.sha256(f"dp-sgd {plan!r} {records.count}".encode()).hexdigest()
    return Quantity(
        Metric.EPSILON,
        mechanism,
        records.keyed_hash,
        delta=plan.delta,
        adjacency=accounting.ADJACENCY,
        privacy_unit=records.unit,
        released="all iterates",
    )


def epsilon_upper_bound(plan: PrivatePlan, records: ProtectedRecords, epsilon: float) -> Bound:
    """Return the accountant's upper bound on epsilon, with its assumptions."""
    return Bound(
        quantity=epsilon_quantity(plan, records),
        side=Side.UPPER,
        value=epsilon,
        basis=Basis.PROOF,
        evidence=None,
        method=ACCOUNTANT,
        assumptions=ASSUMPTIONS,
    )


def delta_warnings(delta: float, num_records: int) -> tuple[str, ...]:
    """Return a warning if delta is so large that publishing one of the records would be allowed."""
    if delta < 1 / num_records:
        return ()
    return (
        f"delta = {delta:g} is not below 1/{num_records}: publishing one random record in full would pass; "
        "choose a smaller one",
    )


def class_warnings(train: Dataset) -> tuple[str, ...]:
    """Return a warning, for the data's owner alone, of classes without names that have few records."""
    if train.class_names != tuple(map(str, range(train.num_classes))):
        return ()
    counts = np.bincount(train.labels, minlength=train.num_classes)
    few = [
        f"class {label} has {count}" for label, count in enumerate(counts) if 0 < count < MIN_CLASS_RECORDS
    ]
    if not few:
        return ()
    return (
        f"{', '.join(few)} of {len(train)} records: the number of classes was taken from the labels, and the "
        "shape of the released weights shows it without noise; name all possible classes in class_names of "
        "the .npz, say how many there are with --classes, or leave out the records of these",
    )
