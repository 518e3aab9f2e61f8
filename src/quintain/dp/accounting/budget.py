"""A privacy budget, and whether one more step fits into it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from numbers import Real

from quintain.core.errors import SettingError
from quintain.core.rounding import bound
from quintain.dp.accounting.ledger import Ledger
from quintain.dp.accounting.planning import MAX_STEPS, steps_left
from quintain.dp.accounting.pld import check_delta
from quintain.dp.accounting.release import Release


@dataclass(slots=True)
class PrivacyBudget:
    """The most that the releases of a ledger may cost.

    Args:
        epsilon, delta: What all steps together may cost.

    Raises:
        SettingError: If epsilon is not positive and finite, or delta no probability.
    """

    epsilon: float
    delta: float
    _cached_fit: tuple[tuple[Release, ...], Release, int] | None = field(
        default=None, repr=False, init=False, compare=False
    )

    def __post_init__(self) -> None:
        check_delta(self.delta)
        if not 0 < self.epsilon < math.inf:
            raise SettingError(
                f"got stop_at_epsilon = ({self.epsilon}, {self.delta}); expected a positive finite epsilon, "
                "such as (3.0, 1e-5)"
            )

    @classmethod
    def of(cls, pair: object, name: str = "stop_at_epsilon") -> "PrivacyBudget":
        """The budget from a pair (epsilon, delta); errors call it ``name``.

        Raises:
            SettingError: If it is no pair of numbers, or these are out of their range.
        """
        numbers = tuple(pair) if isinstance(pair, Sequence) else ()
        if len(numbers) != 2 or not all(isinstance(number, Real) for number in numbers):
            raise SettingError(
                f"got {name} = {pair!r}; expected two numbers, (epsilon, delta), such as (3.0, 1e-5)"
            )
        return cls(float(numbers[0]), float(numbers[1]))

    def check_affords_one(self, release: Release) -> None:
        """Raise unless one ``release`` alone is within the budget.

        Raises:
            SettingError: If not; with its cost.
        """
        ledger = Ledger()
        if self.affords(ledger, release):
            return
        ledger.record(replace(release, steps=1))
        cost = bound(ledger.epsilon(self.delta), up=True)
        raise SettingError(
            f"got stop_at_epsilon = ({self.epsilon:g}, {self.delta:g}), which affords no step: one comes to "
            f"epsilon = {cost} at that delta, with noise_multiplier = {release.noise_multiplier:g} and a "
            f"batch of {release.expected_batch_size} of {release.num_units} records; expected a larger "
            "epsilon, more noise, or smaller batches"
        )

    def affords(self, ledger: Ledger, release: Release) -> bool:
        """Whether ``release`` fits after what the ledger holds."""
        # cached: how many releases of this kind fit after "before"; valid while only such were added
        if self._cached_fit is not None:
            before, kind, fit = self._cached_fit
            if kind == release and ledger.releases in (
                before,
                *_extended_releases(before, release, ledger.steps),
            ):
                return ledger.steps - sum(done.steps for done in before) < fit
        fit = self._max_further_steps(ledger, release)
        self._cached_fit = (ledger.releases, release, fit)
        return fit > 0

    def _max_further_steps(self, ledger: Ledger, release: Release) -> int:
        """How many releases like this fit after the ledger's; of an epoch, no more than it has steps."""
        if all(
            (one.sampling, one.mechanism, one.choice) == ("poisson", "gaussian", 0)
            for one in (*ledger.releases, release)
        ):
            history = [(one.noise_multiplier, one.sample_rate, one.steps) for one in ledger.releases]
            sigma, rate = release.noise_multiplier, release.sample_rate
            return steps_left(
                history, epsilon=self.epsilon, delta=self.delta, noise_multiplier=sigma, sample_rate=rate
            )

        def within(steps: int) -> bool:
            trial = Ledger(ledger.releases)
            trial.record(replace(release, steps=steps))
            return trial.epsilon(self.delta) <= self.epsilon

        if not within(1):
            return 0
        # double until one too many, then bisect between what fits and what does not
        max_steps = release.steps_per_epoch or MAX_STEPS
        low, high = 1, 2
        while high <= max_steps and within(high):
            low, high = high, 2 * high
        high = min(high, max_steps + 1)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if within(middle) else (low, middle)
        return low


def _extended_releases(
    before: tuple[Release, ...], release: Release, steps: int
) -> tuple[tuple[Release, ...], ...]:
    """The releases of the ledger if all since ``before`` were of this kind."""
    added = steps - sum(done.steps for done in before)
    if added < 1:
        return ()
    extended = Ledger(before)
    extended.record(replace(release, steps=added))
    return (extended.releases,)
