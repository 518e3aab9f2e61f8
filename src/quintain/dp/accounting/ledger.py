"""What a run has released so far: the record that epsilon is computed from."""

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any, get_args

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.accounting import bound
from quintain.dp.accounting.guarantee import Guarantee, Mechanism, Sampling, Unit
from quintain.dp.accounting.sealed import opened, sealed

if TYPE_CHECKING:
    from quintain.dp.accounting.budget import Budget


@dataclass(frozen=True, slots=True)
class Release:
    """Equal noisy steps in a row.

    Args:
        noise_multiplier: Standard deviation of the noise over the clipping norm.
        expected_batch_size: Units a step holds on average; with ``records`` the sampling rate, kept as exact integers.
        records: Units (records, groups, patients, clients) to draw from.
        steps: How many.
        sampling: How the units of a step are chosen.
        mechanism: The noise.
        unit: Whose presence the noise hides.
        epoch: Which pass over the data the steps belong to, if a unit is in at most one step of a pass
            ("shuffle", "balls-in-bins"), as the ledger numbers them (see ``Ledger.pass_at``). Poisson steps
            know no passes and leave it 0.
        steps_per_epoch: Bins of a pass, for "balls-in-bins".
        reproducible: Whether noise and sampling follow from a seed, so that privacy holds only against those who do not know it.
        choice: 0 if the settings were fixed before the ledger's first release; choices made after a release
            count from 1.

    Raises:
        SettingError: If a name is unknown, a number is out of its range, or a pass of balls-in-bins has no bins.
    """

    noise_multiplier: float
    expected_batch_size: int
    records: int
    steps: int = 1
    sampling: Sampling = "poisson"
    mechanism: Mechanism = "gaussian"
    unit: Unit = "record"
    epoch: int = 0
    steps_per_epoch: int = 0
    reproducible: bool = False
    choice: int = 0

    def __post_init__(self) -> None:
        for kind, name in ((Sampling, self.sampling), (Mechanism, self.mechanism), (Unit, self.unit)):
            if name not in get_args(kind):
                raise SettingError(f"got {name!r} in a release; expected one of {', '.join(get_args(kind))}")
        if not (self.noise_multiplier >= 0 and 1 <= self.expected_batch_size <= self.records and self.steps >= 1):
            raise SettingError(
                f"got a release of {self.steps} steps on {self.expected_batch_size} out of {self.records} with noise "
                f"{self.noise_multiplier}; expected at least one step, a batch from 1 to all, and noise of 0 or more"
            )
        if self.sampling == "balls-in-bins" and self.steps_per_epoch < 1:
            raise SettingError(f"got {self.steps_per_epoch} bins for a pass of balls-in-bins; expected steps_per_epoch of at least one")

    @property
    def in_passes(self) -> bool:
        """Whether a unit is in at most one step of a pass."""
        return self.sampling in ("shuffle", "balls-in-bins")

    @property
    def sample_rate(self) -> float:
        """Probability that a unit takes part in a step."""
        return self.expected_batch_size / self.records


@dataclass(frozen=True, slots=True)
class Place:
    """Where a step is in passes that hold each unit at most once.

    Args:
        order: Identifies the random order (or the bins) of all passes of one stream; tells nothing about the
            order itself.
        number: Number of the pass in that stream, from 0.
        batch: Number of the batch in that stream, from 1.
    """

    order: str
    number: int
    batch: int


class Ledger:
    """The releases of one run, in order.

    A step is recorded before it is applied: a crash in between over-counts, which is safe.

    Attributes:
        budget: What it may come to, for runs that are given no budget of their own.
    """

    budget: "Budget | None" = None

    def __init__(self, releases: Sequence[Release] = ()) -> None:
        self._releases: list[Release] = []
        # of each stream, by its order: the place of its latest step, and the number of that step's pass
        self._open: dict[str, tuple[Place, int]] = {}
        # a run may go on in several processes: a random name for this one, and those of all that recorded
        # steps, in order, each with the steps that there were when it began
        self._own = secrets.token_hex(8)
        self._parts: list[tuple[str, int]] = []
        for release in releases:
            self.record(release)

    @property
    def releases(self) -> tuple[Release, ...]:
        """Everything released, equal neighbours merged."""
        return tuple(self._releases)

    @property
    def steps(self) -> int:
        """Steps recorded."""
        return sum(release.steps for release in self._releases)

    @property
    def origin(self) -> str:
        """A random name of the run: the same for all processes that go on from its saved states."""
        return self._parts[0][0] if self._parts else self._own

    def lacks(self, other: "Ledger") -> int:
        """Steps that another ledger has recorded, and this one does not count: all after the two parted."""
        pairs = zip(self._parts, other._parts, strict=False)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        if not common:
            return other.steps
        ends = [ledger._parts[common][1] if common < len(ledger._parts) else ledger.steps for ledger in (self, other)]
        return other.steps - min(ends)

    def choose(self) -> int:
        """The ``choice`` of releases whose settings are chosen now: 0 before the first, else a new number."""
        return max((release.choice + 1 for release in self._releases), default=0)

    @property
    def passes(self) -> int:
        """Passes begun: the number of the next one."""
        return max((release.epoch + 1 for release in self._releases if release.in_passes), default=0)

    def record(self, release: Release) -> None:
        """Count a release that is about to happen.

        Raises:
            PrivacyError: If it protects another unit than those before: the two do not add up to one guarantee.
        """
        if self._releases and release.unit != self._releases[0].unit:
            raise PrivacyError(
                f"got a release that protects one {release.unit} in a ledger of releases that protect one {self._releases[0].unit}; "
                "expected one unit throughout: use an engine for each"
            )
        if self._own not in dict(self._parts):
            self._parts.append((self._own, self.steps))
        if self._releases and replace(self._releases[-1], steps=release.steps) == release:
            release = replace(release, steps=release.steps + self._releases.pop().steps)
        self._releases.append(release)

    def pass_at(self, place: Place | None) -> int:
        """The number of the pass that a step belongs to: that of its stream, if the step continues it, else a
        new one.

        A pass holds each unit once only if all its steps come from one order, each from a later batch. So a
        step of another stream, or of an earlier place in the same stream, begins a new pass. Steps without a
        place belong to no pass: 0.
        """
        if place is None:
            return 0
        latest, epoch = self._open.get(place.order, (None, 0))
        if latest is not None and latest.number == place.number and latest.batch < place.batch:
            return epoch
        return self.passes

    def step(self, release: Release, place: Place | None) -> None:
        """Record a step of the pass that ``pass_at`` gave for its place."""
        self.record(release)
        if place is not None:
            self._open[place.order] = (place, release.epoch)

    def copy(self) -> "Ledger":
        """Another ledger with the same content, to see what further releases would cost."""
        made = Ledger()
        made.load_state_dict(self.state_dict())
        return made

    def epsilon(self, delta: float) -> float:
        """The privacy spent so far, at ``delta``, under the adjacency that ``guarantee`` states."""
        return bound.epsilon_of(self._releases, delta)

    def guarantee(self, delta: float) -> Guarantee:
        """The privacy spent so far, with all that it assumes."""
        return bound.guarantee_of(self._releases, delta)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on counting, as plain numbers and texts with a checksum."""
        return sealed(
            {
                "releases": [asdict(release) for release in self._releases],
                "steps": self.steps,
                "passes": [[place.order, place.number, place.batch, epoch] for place, epoch in self._open.values()],
                "parts": [list(part) for part in self._parts],
            }
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what an earlier part of the run has spent.

        Raises:
            PrivacyError: If ``state`` is not what ``state_dict`` gave, lacks steps that this ledger has
                recorded, or is of another run.
        """
        state = opened(state, "a ledger")
        try:
            loaded = Ledger([Release(**release) for release in state["releases"]])
            for order, number, batch, epoch in state["passes"]:
                loaded._open[order] = (Place(order, number, batch), epoch)
            loaded._parts = [(own, begun) for own, begun in state["parts"]]
        except (KeyError, TypeError, ValueError, SettingError) as error:
            raise PrivacyError(f"got a ledger without readable releases ({error}); expected what Ledger.state_dict() gave") from error
        # steps once released stay spent: the state must hold all that was recorded here, and come from the
        # same run
        missing = self._counts() - loaded._counts()
        if loaded.steps != state["steps"]:
            raise PrivacyError(f"got a ledger of {loaded.steps} steps that says it has {state['steps']}; expected all of its releases")
        if missing:
            raise PrivacyError(
                f"got a ledger of {loaded.steps} steps that lacks {missing.total()} of those already spent here; expected them all: "
                "steps once released stay spent, so load a state into a fresh engine"
            )
        shared, further = loaded._parts[: len(self._parts)], loaded._parts[len(self._parts) :]
        if shared != self._parts or any(begun < self.steps for _, begun in further):
            raise PrivacyError(
                f"got the ledger of another run of {loaded.steps} steps, or of one that parted from this one "
                f"before its {self.steps}; expected one that goes on from them: steps once released stay "
                "spent, so load a state into a fresh engine"
            )
        self._releases, self._open, self._parts, self._own = loaded._releases, loaded._open, loaded._parts, loaded._own

    def _counts(self) -> "Counter[Release]":
        """How many steps of each kind were recorded."""
        counts: Counter[Release] = Counter()
        for release in self._releases:
            counts[replace(release, steps=1)] += release.steps
        return counts
