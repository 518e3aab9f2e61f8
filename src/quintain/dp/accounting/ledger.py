"""The ledger: everything that a run has released so far, from which epsilon is computed."""

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import takewhile
from typing import Any, Protocol

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.accounting import composition
from quintain.dp.accounting.checksum import add_checksum, verified_content
from quintain.dp.accounting.guarantee import Guarantee
from quintain.dp.accounting.release import EpochPosition, Release


class SpendingLimit(Protocol):
    """The most that a ledger's releases may cost (see ``accounting.budget.PrivacyBudget``)."""

    epsilon: float
    delta: float

    def affords(self, ledger: "Ledger", release: Release) -> bool:
        """Whether the release fits after what the ledger holds."""


class Ledger:
    """The releases of one run, in order.

    A step is recorded before it is applied: a crash in between over-counts, which is safe.

    Attributes:
        budget: The budget of runs that are given none of their own.
    """

    budget: "SpendingLimit | None" = None

    def __init__(self, releases: Sequence[Release] = ()) -> None:
        self._releases: list[Release] = []
        # of each stream, by its order: the position of its latest step, and the number of that step's epoch
        self._open_epochs: dict[str, tuple[EpochPosition, int]] = {}
        # a run may go on in several processes: a random name for this one, and those of all that recorded
        # steps, in order, each with the steps that there were when it began
        self._process_id = secrets.token_hex(8)
        self._processes: list[tuple[str, int]] = []
        for release in releases:
            self.record(release)

    @property
    def releases(self) -> tuple[Release, ...]:
        """Everything released, equal neighbors merged."""
        return tuple(self._releases)

    @property
    def steps(self) -> int:
        """Steps recorded."""
        return sum(release.steps for release in self._releases)

    @property
    def run_id(self) -> str:
        """A random name of the run, the same for all processes that resume it from its saved states."""
        return self._processes[0][0] if self._processes else self._process_id

    def count_missing(self, other: "Ledger") -> int:
        """How many steps another ledger has recorded that this one lacks: all after the two diverged."""
        pairs = zip(self._processes, other._processes, strict=False)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        if not common:
            return other.steps
        ends = [
            ledger._processes[common][1] if common < len(ledger._processes) else ledger.steps
            for ledger in (self, other)
        ]
        return other.steps - min(ends)

    def next_choice(self) -> int:
        """The number of a choice of settings made now: 0 before the first release, else a new number."""
        return max((release.choice + 1 for release in self._releases), default=0)

    @property
    def num_epochs(self) -> int:
        """Epochs begun, which is also the number of the next one."""
        return max((release.epoch + 1 for release in self._releases if release.is_epoch_based), default=0)

    def record(self, release: Release) -> None:
        """Count a release that is about to happen.

        Raises:
            PrivacyError: If it protects another unit than those before: the two do not add up to one
                guarantee.
        """
        if self._releases and release.unit != self._releases[0].unit:
            raise PrivacyError(
                f"got a release that protects one {release.unit} in a ledger of releases that protect one "
                f"{self._releases[0].unit}; expected one unit throughout: use an engine for each"
            )
        if self._process_id not in dict(self._processes):
            self._processes.append((self._process_id, self.steps))
        if self._releases and replace(self._releases[-1], steps=release.steps) == release:
            release = replace(release, steps=release.steps + self._releases.pop().steps)
        self._releases.append(release)

    def epoch_at(self, position: EpochPosition | None) -> int:
        """The number of the epoch that a step belongs to.

        An epoch holds each unit at most once only if all its steps come from one random order, each from a
        later batch. So a step that continues the open epoch of its stream belongs to that; a step of another
        stream, or of an earlier position in the same stream, begins a new epoch. Steps without a position
        (Poisson, full batch) belong to no epoch: 0.
        """
        if position is None:
            return 0
        latest, epoch = self._open_epochs.get(position.order_id, (None, 0))
        if (
            latest is not None
            and latest.epoch == position.epoch
            and latest.batch_number < position.batch_number
        ):
            return epoch
        return self.num_epochs

    def step(self, release: Release, position: EpochPosition | None) -> None:
        """Record a step of the epoch that ``epoch_at`` gave for its position."""
        self.record(release)
        if position is not None:
            self._open_epochs[position.order_id] = (position, release.epoch)

    def copy(self) -> "Ledger":
        """Another ledger with the same content, to see what further releases would cost."""
        copied = Ledger()
        copied.load_state_dict(self.state_dict())
        return copied

    def epsilon(self, delta: float) -> float:
        """The privacy spent so far, at ``delta``, under the adjacency that ``guarantee`` states."""
        return composition.epsilon_of(self._releases, delta)

    def guarantee(self, delta: float) -> Guarantee:
        """The privacy spent so far, with all that it assumes."""
        return composition.guarantee_of(self._releases, delta)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on counting, as plain numbers and texts with a checksum."""
        return add_checksum(
            {
                "releases": [asdict(release) for release in self._releases],
                "steps": self.steps,
                "passes": [
                    [place.order_id, place.epoch, place.batch_number, epoch]
                    for place, epoch in self._open_epochs.values()
                ],
                "parts": [list(part) for part in self._processes],
            }
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the ledger that an earlier part of the run has saved.

        Raises:
            PrivacyError: If ``state`` is not what ``state_dict`` gave, lacks steps that this ledger has
                recorded, or is of another run.
        """
        state = verified_content(state, "a ledger")
        try:
            loaded = Ledger([Release(**release) for release in state["releases"]])
            for order, number, batch, epoch in state["passes"]:
                loaded._open_epochs[order] = (EpochPosition(order, number, batch), epoch)
            loaded._processes = [(own, begun) for own, begun in state["parts"]]
        except (KeyError, TypeError, ValueError, SettingError) as error:
            raise PrivacyError(
                f"got a ledger without readable releases ({error}); expected what Ledger.state_dict() gave"
            ) from error
        # steps once released stay spent: the state must hold all that was recorded here, and come from the
        # same run
        missing = self._steps_by_kind() - loaded._steps_by_kind()
        if loaded.steps != state["steps"]:
            raise PrivacyError(
                f"got a ledger of {loaded.steps} steps that says it has {state['steps']}; expected all of "
                "its releases"
            )
        if missing:
            raise PrivacyError(
                f"got a ledger of {loaded.steps} steps that lacks {missing.total()} of those already spent "
                "here; expected them all: steps once released stay spent, so load a state into a fresh "
                "engine"
            )
        shared, further = loaded._processes[: len(self._processes)], loaded._processes[len(self._processes) :]
        if shared != self._processes or any(begun < self.steps for _, begun in further):
            raise PrivacyError(
                f"got the ledger of another run of {loaded.steps} steps, or of one that parted from this one "
                f"before its {self.steps}; expected one that goes on from them: steps once released stay "
                "spent, so load a state into a fresh engine"
            )
        self._releases, self._open_epochs, self._processes, self._process_id = (
            loaded._releases,
            loaded._open_epochs,
            loaded._processes,
            loaded._process_id,
        )

    def _steps_by_kind(self) -> "Counter[Release]":
        """How many steps of each kind were recorded; steps of one kind differ in nothing."""
        counts: Counter[Release] = Counter()
        for release in self._releases:
            counts[replace(release, steps=1)] += release.steps
        return counts
