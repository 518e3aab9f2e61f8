"""What a run has released so far: the record that epsilon is computed from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from quintain.core.errors import PrivacyError
from quintain.dp.accounting import composed_epsilon


@dataclass(frozen=True, slots=True)
class Release:
    """Equal noisy steps in a row.

    Args:
        noise_multiplier: Standard deviation of the noise over the clipping norm.
        expected_batch_size: Records a step holds on average; with ``records`` the sampling rate, kept as exact integers.
        records: Records to draw from.
        steps: How many.
    """

    noise_multiplier: float
    expected_batch_size: int
    records: int
    steps: int = 1

    @property
    def sample_rate(self) -> float:
        """Probability that a record takes part in a step."""
        return self.expected_batch_size / self.records


class Ledger:
    """The releases of one run, in order.

    A step is recorded before it is applied: a crash in between over-counts, which is safe.
    """

    def __init__(self, releases: Sequence[Release] = ()) -> None:
        self._releases = list(releases)

    @property
    def releases(self) -> tuple[Release, ...]:
        """Everything released, equal neighbours merged."""
        return tuple(self._releases)

    @property
    def steps(self) -> int:
        """Steps recorded."""
        return sum(release.steps for release in self._releases)

    def record(self, release: Release) -> None:
        """Count a release that is about to happen."""
        if self._releases and replace(self._releases[-1], steps=release.steps) == release:
            release = replace(release, steps=release.steps + self._releases.pop().steps)
        self._releases.append(release)

    def epsilon(self, delta: float) -> float:
        """The privacy spent so far, at ``delta``, for adding or removing one record."""
        return composed_epsilon([(r.noise_multiplier, r.sample_rate, r.steps) for r in self._releases], delta)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on counting; plain numbers."""
        return {"releases": [asdict(release) for release in self._releases]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what an earlier part of the run has spent.

        Raises:
            PrivacyError: If ``state`` is not what ``state_dict`` gave, or lacks steps that this ledger has recorded.
        """
        try:
            loaded = Ledger([Release(**release) for release in state["releases"]])
        except (KeyError, TypeError) as error:
            raise PrivacyError(f"got a ledger without readable releases ({error}); expected what Ledger.state_dict() gave") from error
        missing = self._counts() - loaded._counts()
        if missing:
            raise PrivacyError(
                f"got a ledger of {loaded.steps} steps that lacks {missing.total()} of those already spent here; expected them all: "
                "steps once released stay spent, so load a state into a fresh engine"
            )
        self._releases = loaded._releases

    def _counts(self) -> "Counter[Release]":
        """Steps of each kind."""
        counts: Counter[Release] = Counter()
        for release in self._releases:
            counts[replace(release, steps=1)] += release.steps
        return counts
