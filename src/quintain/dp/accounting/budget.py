"""Whether one more step still fits into a privacy budget."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from numbers import Real

from quintain.core.errors import SettingError
from quintain.core.rounding import bound
from quintain.dp.accounting.ledger import Ledger, Release
from quintain.dp.accounting.planning import MOST_STEPS, steps_left
from quintain.dp.accounting.pld import check_delta


@dataclass(slots=True)
class Budget:
    """The most that the releases of a ledger may cost.

    Args:
        epsilon, delta: What all steps together may cost.

    Raises:
        SettingError: If epsilon is not positive and finite, or delta no probability.
    """

    epsilon: float
    delta: float
    _known: tuple[tuple[Release, ...], Release, int] | None = field(default=None, repr=False, init=False)

    def __post_init__(self) -> None:
        check_delta(self.delta)
        if not 0 < self.epsilon < math.inf:
            raise SettingError(
                f"got stop_at_epsilon = ({self.epsilon}, {self.delta}); expected a positive finite epsilon, such as (3.0, 1e-5)"
            )

    @classmethod
    def of(cls, pair: object, name: str = "stop_at_epsilon") -> "Budget":
        """The budget that is given as (epsilon, delta), under a name.

        Raises:
            SettingError: If it is no pair of numbers, or these are out of their range.
        """
        numbers = tuple(pair) if isinstance(pair, Sequence) else ()
        if len(numbers) != 2 or not all(isinstance(number, Real) for number in numbers):
            raise SettingError(f"got {name} = {pair!r}; expected two numbers, (epsilon, delta), such as (3.0, 1e-5)")
        return cls(float(numbers[0]), float(numbers[1]))

    def require_one(self, release: Release) -> None:
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
            f"got stop_at_epsilon = ({self.epsilon:g}, {self.delta:g}), which affords no step: one comes to epsilon = "
            f"{cost} at that delta, with noise_multiplier = {release.noise_multiplier:g} and a batch of "
            f"{release.expected_batch_size} of {release.records} records; expected a larger epsilon, more noise, or smaller batches"
        )

    def affords(self, ledger: Ledger, release: Release) -> bool:
        """Whether ``release`` may follow; how many equal ones fit is computed once for each kind in a row."""
        if self._known is not None:
            before, kind, fit = self._known
            if kind == release and ledger.releases in (before, *_after(before, release, ledger.steps)):
                return ledger.steps - sum(done.steps for done in before) < fit
        fit = self._fit(ledger, release)
        self._known = (ledger.releases, release, fit)
        return fit > 0

    def _fit(self, ledger: Ledger, release: Release) -> int:
        """How many releases like this fit after what is spent; of a pass, no more than it has steps."""
        if all((one.sampling, one.mechanism, one.choice) == ("poisson", "gaussian", 0) for one in (*ledger.releases, release)):
            spent = [(one.noise_multiplier, one.sample_rate, one.steps) for one in ledger.releases]
            sigma, rate = release.noise_multiplier, release.sample_rate
            return steps_left(spent, epsilon=self.epsilon, delta=self.delta, noise_multiplier=sigma, sample_rate=rate)

        def within(steps: int) -> bool:
            trial = Ledger(ledger.releases)
            trial.record(replace(release, steps=steps))
            return trial.epsilon(self.delta) <= self.epsilon

        if not within(1):
            return 0
        # double until one too many, then bisect between what fits and what does not
        most = release.steps_per_epoch or MOST_STEPS
        low, high = 1, 2
        while high <= most and within(high):
            low, high = high, 2 * high
        high = min(high, most + 1)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if within(middle) else (low, middle)
        return low


def _after(before: tuple[Release, ...], release: Release, steps: int) -> tuple[tuple[Release, ...], ...]:
    """What the ledger holds if all since ``before`` were of this kind."""
    added = steps - sum(done.steps for done in before)
    if added < 1:
        return ()
    grown = Ledger(before)
    grown.record(replace(release, steps=added))
    return (grown.releases,)
