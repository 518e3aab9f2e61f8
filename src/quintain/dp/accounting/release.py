"""One entry of the ledger: equal noisy steps in a row, and where a step stands in its epoch."""

from dataclasses import dataclass
from typing import get_args

from quintain.core.errors import SettingError
from quintain.dp.accounting.guarantee import Mechanism, PrivacyUnit, Sampling


@dataclass(frozen=True, slots=True)
class Release:
    """Equal noisy steps in a row, recorded as one entry.

    Args:
        noise_multiplier: Standard deviation of the noise over the clipping norm.
        expected_batch_size: Units a step holds on average; with ``num_units`` the sampling rate, kept as
            exact integers.
        num_units: Units (records, groups, patients, clients) to sample from.
        steps: How many.
        sampling: How the units of a step are chosen.
        mechanism: The noise.
        unit: Whose presence the noise hides.
        epoch: Which epoch the steps belong to, if a unit is in at most one step of an epoch ("shuffle",
            "balls-in-bins"), as the ledger numbers them (see ``Ledger.epoch_at``). Poisson steps know no
            epochs and leave it 0.
        steps_per_epoch: Bins of an epoch, for "balls-in-bins".
        reproducible: Whether noise and sampling follow from a seed, so that privacy holds only against those
            who do not know it.
        choice: 0 if the settings were fixed before the ledger's first release; choices made after a release
            count from 1.

    Raises:
        SettingError: If a name is unknown, a number is out of its range, or an epoch of balls-in-bins has no
            bins.
    """

    noise_multiplier: float
    expected_batch_size: int
    num_units: int
    steps: int = 1
    sampling: Sampling = "poisson"
    mechanism: Mechanism = "gaussian"
    unit: PrivacyUnit = "record"
    epoch: int = 0
    steps_per_epoch: int = 0
    reproducible: bool = False
    choice: int = 0

    def __post_init__(self) -> None:
        for kind, name in ((Sampling, self.sampling), (Mechanism, self.mechanism), (PrivacyUnit, self.unit)):
            if name not in get_args(kind):
                raise SettingError(f"got {name!r} in a release; expected one of {', '.join(get_args(kind))}")
        if not (
            self.noise_multiplier >= 0 and 1 <= self.expected_batch_size <= self.num_units and self.steps >= 1
        ):
            raise SettingError(
                f"got a release of {self.steps} steps on {self.expected_batch_size} out of {self.num_units} "
                f"with noise {self.noise_multiplier}; expected at least one step, a batch from 1 to all, and "
                "noise of 0 or more"
            )
        if self.sampling == "balls-in-bins" and self.steps_per_epoch < 1:
            raise SettingError(
                f"got {self.steps_per_epoch} bins for an epoch of balls-in-bins; expected steps_per_epoch of "
                "at least one"
            )

    @property
    def is_epoch_based(self) -> bool:
        """Whether a unit is in at most one step of each epoch: sampling without replacement."""
        return self.sampling in ("shuffle", "balls-in-bins")

    @property
    def sample_rate(self) -> float:
        """Probability that a unit takes part in a step."""
        return self.expected_batch_size / self.num_units


@dataclass(frozen=True, slots=True)
class EpochPosition:
    """Where a step stands in a stream of epochs that hold each unit at most once.

    Args:
        order_id: Identifies the random order (or the bins) of all epochs of one stream; tells nothing about
            the order itself.
        epoch: Number of the pass in that stream, from 0.
        batch_number: Number of the batch in that stream, from 1.
    """

    order_id: str
    epoch: int
    batch_number: int
