"""The privacy cost of a step: the release that it records in the ledger, and the budget that limits it."""

from dataclasses import dataclass, replace

from quintain.core.errors import BudgetExceededError
from quintain.dp.accounting.budget import PrivacyBudget
from quintain.dp.accounting.ledger import Ledger, SpendingLimit
from quintain.dp.accounting.release import Release
from quintain.dp.sampling.stepped_loader import SteppedLoader
from quintain.dp.step.noise_and_clip import NoiseAndClip


@dataclass(frozen=True, slots=True, eq=False)
class StepAccount:
    """Records steps in a ledger, before anything of them is released.

    Args:
        ledger: Where each step is recorded.
        loader: Knows how the batch was sampled.
        settings: The noise, and whether it was chosen after releases.
        secure_mode: Whether noise is discrete.
        own_budget: What may be spent; by default what the ledger says.
    """

    ledger: Ledger
    loader: SteppedLoader
    settings: NoiseAndClip
    secure_mode: bool
    own_budget: PrivacyBudget | None

    @property
    def next_release(self) -> Release:
        """The release that the next step will record in the ledger."""
        loader, ledger = self.loader, self.ledger
        position = loader.epoch_position(loader.batches_drawn)
        return Release(
            self.settings.noise_multiplier,
            loader.expected_batch_size,
            loader.num_units,
            sampling=loader.sampling,
            mechanism="discrete gaussian" if self.secure_mode else "gaussian",
            unit="record" if loader.units is None else loader.units.name,
            epoch=ledger.epoch_at(position),
            steps_per_epoch=loader.steps_per_epoch if position else 0,
            reproducible=loader.reproducible,
            choice=self.settings.choice,
        )

    @property
    def budget(self) -> SpendingLimit | None:
        """The privacy budget of the steps: their own, else the latest of the ledger."""
        return self.own_budget or self.ledger.budget

    @property
    def budget_is_spent(self) -> bool:
        """Whether one more step would cost more than the budget."""
        limit = self.budget
        return limit is not None and not limit.affords(self.ledger, self.next_release)

    def check_affords_one(self) -> None:
        """Raise if one more step would cost more than the budget."""
        if self.budget_is_spent and (limit := self.budget) is not None:
            raise BudgetExceededError(
                f"one more step would cost more than epsilon = {limit.epsilon} at delta = {limit.delta} "
                f"({self.ledger.steps} steps are spent); expected training to end here, with the weights of "
                "the last step"
            )

    def record(self, release: Release) -> None:
        """Record the step on the loader's current batch."""
        self.ledger.step(release, self.loader.epoch_position(self.loader.batches_drawn))

    def record_skipped_batches(self, ledger: Ledger) -> int:
        """Record in ``ledger`` a step for each batch that training skipped, and return how many there are."""
        skipped = range(self.loader.last_stepped_batch + 1, self.loader.last_passed_batch + 1)
        for batch in skipped:
            position = self.loader.epoch_position(batch)
            ledger.step(replace(self.next_release, epoch=ledger.epoch_at(position)), position)
        return len(skipped)
