"""Decide before each step of a drill whether it can be done, and how much of it in the time that is left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from quintain.drill.budget import Allotment, Amount, Demand, allot, cuts, scale_workload
from quintain.drill.context import DrillContext
from quintain.drill.estimates import SHORT_TRIALS, Estimates
from quintain.drill.lack_of_time import too_long
from quintain.drill.settings import Workload
from quintain.drill.step import Obstacle, Step
from quintain.drill.trials import Clock, Trials
from quintain.results.records import Record, SizeCut, SkippedResult

SHARED = (Amount("test_examples", "test examples", 100), Amount("train_examples", "training examples", 500))
"""What all steps have in common: it is cut last, and decided before the first step."""

LAST = (Amount("test_examples", "test examples", 25),)
"""It is cut so far only where the model would not be attacked or certified else."""

MARGIN = 0.95
"""Of the time that is left, so much is given away before the end: estimates are none to the second."""

RETRIED = 0.2
"""Where more than this fraction of the time is left in the end, steps that wait are tried anew."""

DOUBTED = 2.0
"""Where all of the work would take so many times the time, or examples are cut, short first trials are made
twice.
"""

SHARED_KEY = "shared"


@dataclass(frozen=True, slots=True)
class StepPlan:
    """How much of a step is done.

    Args:
        workload: How much of everything.
        seconds: Estimate of its time; 0 where its sizes were decided in an earlier start.
        cuts: What of it was cut for time.
    """

    workload: Workload
    seconds: float
    cuts: tuple[SizeCut, ...]


@dataclass
class Planner:
    """The plan of a drill, which is made anew before each step by the time that is left.

    Args:
        context: With the full workload.
        steps: The steps to do, those that are finished among them.
        clock: Tells the time.
        spent: Seconds that finished steps took in earlier starts.
        work_clock: Tells the processor time of this thread, or the time where an accelerator or a service
            works.
        obstacles: What keeps steps from being done, whatever the time.
        waiting: Steps that there was no time for when it was their turn; they are tried again at the end.
    """

    context: DrillContext
    steps: Sequence[Step]
    clock: Clock
    spent: float
    work_clock: Clock
    obstacles: dict[str, Obstacle] = field(default_factory=dict)
    waiting: dict[str, Obstacle] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._started = self.clock()
        self._full = self.context.workload
        self._fixed: dict[str, dict[str, int]] = self.context.run.sizes()
        self._estimates = Estimates(self.context, self.clock, self.work_clock)
        self._dropped: Mapping[str, float] = {}
        self._margin = MARGIN
        self._needless: set[str] = set()
        self._retried: Trials | None = None
        self._put_off: set[str] = set()
        self._estimate()

    @property
    def workload(self) -> Workload:
        """The full workload, with what is decided so far."""
        return replace(
            self._full, **{name: size for one in self._fixed.values() for name, size in one.items()}
        )

    @property
    def planned(self) -> frozenset[str]:
        """The steps that are done, as far as is known."""
        missing = {*self.obstacles, *self.waiting, *self._dropped}
        return frozenset(one.name for one in self.steps if one.name not in missing)

    @property
    def seconds_left(self) -> float:
        """The time that is left."""
        return self.context.settings.seconds - self.spent - (self.clock() - self._started)

    @property
    def trial_seconds(self) -> float:
        """Seconds that trials took in this start."""
        return self._estimates.trial_seconds

    @property
    def pace(self) -> float:
        """How many times as long as the processor time that is estimated steps take by the clock."""
        return float(self._estimates.pace)

    def prepare(self, step: Step) -> StepPlan | Obstacle:
        """Return how much of a step is done, or what keeps it from being done; its sizes are stored.

        A step that there is no time for is in ``waiting`` afterwards, and so is one of which a part would be
        left out for time, until the others are done: its smallest form is done in any case.
        """
        if step.name in self.obstacles:
            return self.obstacles[step.name]
        for needed in step.needs:
            for missing in (self.obstacles, self.waiting):
                if needed in missing:
                    missing.setdefault(step.name, self._without(step.name, needed, missing[needed]))
        for missing in (self.obstacles, self.waiting):
            if step.name in missing:
                return missing[step.name]
        if (useless := self._useless(step, self.obstacles)) is not None:
            self.obstacles[step.name] = useless
            return useless
        seconds = 0.0
        if step.name not in self._fixed:
            if self._retried and self.seconds_left > RETRIED * self.context.settings.seconds:
                self._try([step], self._retried)
            elif self._retried is None:
                self._try_again()
            if step.name in self.obstacles:
                return self.obstacles[step.name]
            found = self._decide(step)
            if isinstance(found, Obstacle):
                self.waiting[step.name] = found
                return found
            seconds = found
        return StepPlan(self.workload, seconds, self._cuts(step))

    def second_chance(self) -> list[Step]:
        """Return the steps that wait, in their order of worth; each is tried anew when it is its turn.

        The machine may have been busy when they were tried first.
        """
        waiting = [one for one in self.steps if one.name in self.waiting]
        self.waiting.clear()
        self._needless.clear()
        self._margin = 1.0
        self._dropped = {}
        self._estimates.pace.forget_estimates()
        self._retried = self._estimates.trials(self.planned)
        return sorted(waiting, key=lambda one: -one.worth)

    def note(self, record: Record) -> None:
        """Take note of how long a step took; and of one that was not done, for those that need it."""
        self._estimates.end(is_done=not isinstance(record.result, SkippedResult))
        if isinstance(record.result, SkippedResult):
            self.obstacles.setdefault(
                record.result.step, Obstacle(record.result.reason, record.result.remedy)
            )

    def forecast(self) -> tuple[float, float]:
        """Return the seconds that everything to be done is estimated to take, and those that are left."""
        left = self.seconds_left
        return self._allot(left).seconds, left

    def _decide(self, step: Step) -> Obstacle | float:
        """Decide the sizes of a step, and at the first one those that all steps share."""
        left = self.seconds_left
        found = self._allot(left)
        if step.name in found.dropped and not self._has_later(step):
            # Nothing comes after it that the margin is for.
            found = self._allot(left / self._margin)
        if SHARED_KEY not in self._fixed:
            self._fix(SHARED_KEY, SHARED, found.workload)
        self._dropped = found.dropped
        demand = self._estimates.demands()[step.name]
        smallest = scale_workload(found.workload, demand.amounts, 0.0)
        if step.name in found.dropped:
            if step.name not in self._put_off:
                return self._too_long(found.dropped[step.name], left)
            found = replace(found, workload=smallest)
        later = {name: self._too_long(least, left) for name, least in found.dropped.items()}
        if (useless := self._useless(step, {**self.obstacles, **later})) is not None:
            self._needless.add(step.name)
            return useless
        without = [one.what for one in demand.amounts if self._is_left_out(one, found.workload)]
        if without and self._retried is None and self._has_later(step):
            self._put_off.add(step.name)
            return Obstacle(
                f"there is no time yet for {' and '.join(without)}",
                "it is done in the end, with the time that is left then",
            )
        self._fix(step.name, demand.amounts, found.workload)
        return self._estimates.begin(step, self.workload)

    def _is_left_out(self, amount: Amount, workload: Workload) -> bool:
        """Return whether a whole part of a step is cut away."""
        return getattr(self._full, amount.field) > 0 == getattr(workload, amount.field)

    def _has_later(self, step: Step) -> bool:
        """Return whether steps are still to come after one, so that there may be more time in the end."""
        later = self.steps[[one.name for one in self.steps].index(step.name) + 1 :]
        return any(one.name in self.planned and not self.context.run.is_finished(one.name) for one in later)

    def _try_again(self) -> None:
        """Try all undecided steps anew where much would be cut for what the trials may have seen wrongly.

        That is so once before the first step, and wherever the machine is much less busy than it was.
        """
        needed, left = sum(one.seconds(self.workload) for one in self._todo()), self.seconds_left
        if needed <= left * self._margin:
            return
        possible = frozenset(one.name for one in self.steps if one.name not in self.obstacles)
        trials = self._estimates.trials(possible)
        first, is_short = SHARED_KEY not in self._fixed, self.trial_seconds < SHORT_TRIALS * left
        cut = first and cuts("all steps", SHARED, self._full, self._allot(left).workload)
        if (first and is_short and (cut or needed > DOUBTED * left)) or self._estimates.is_quieter(
            trials, left
        ):
            unfinished = [one for one in self.steps if not self.context.run.is_finished(one.name)]
            self._try(unfinished, trials, keep_shorter=True)
            self._estimates.pace.forget_estimates()

    def _allot(self, left: float) -> Allotment:
        """Share out the time that is left among all steps that are not decided yet."""
        is_first = SHARED_KEY not in self._fixed
        return allot(
            self._todo(),
            self.workload,
            left * self._margin,
            shared=SHARED if is_first else (),
            last=LAST if is_first else (),
        )

    def _without(self, step: str, needed: str, why: Obstacle) -> Obstacle:
        """Return why a step is not done that needs another one: its own reason where that was needless."""
        if needed in self._needless and step in self._dropped:
            return self._too_long(self._dropped[step], self.seconds_left)
        return Obstacle(f"it needs the step {needed}, which was not done: {why.reason}", why.remedy)

    def _useless(self, step: Step, missing: Mapping[str, Obstacle]) -> Obstacle | None:
        """Return why a step that only others need is not done: none of them is; None where it is of use."""
        if not self.context.settings.only or step.name in self.context.settings.only:
            return None
        needing = [one.name for one in self.steps if step.name in one.needs]
        if not needing or any(name not in missing for name in needing):
            return None
        first = missing[needing[0]]
        names = " and ".join((", ".join(needing[:-1]), needing[-1]) if len(needing) > 1 else needing)
        reason = f"only {names} needed it, which {'were' if len(needing) > 1 else 'was'} not done"
        return Obstacle(f"{reason}: {first.reason}", first.remedy)

    def _too_long(self, least: float, left: float) -> Obstacle:
        return too_long(least, left, self.context.settings.seconds)

    def _fix(self, key: str, amounts: Sequence[Amount], workload: Workload) -> None:
        taken = {name for one in self._fixed.values() for name in one}
        self._fixed[key] = {
            one.field: getattr(workload, one.field) for one in amounts if one.field not in taken
        }
        self.context.run.save_sizes(self._fixed)

    def _todo(self) -> list[Demand]:
        """Return what the steps ask for that are not decided; what is decided already is cut no more."""
        taken = {name for one in self._fixed.values() for name in one}
        return [
            replace(
                demand,
                amounts=tuple(one for one in demand.amounts if one.field not in taken),
            )
            for name, demand in self._estimates.demands().items()
            if name not in self._fixed and name not in self.obstacles
        ]

    def _cuts(self, step: Step) -> tuple[SizeCut, ...]:
        """Return what of a step's work was cut; with the step decided first, what all have in common too."""
        first = next(name for name in self._fixed if name != SHARED_KEY)
        shared = cuts("all steps", SHARED, self._full, self.workload) if step.name == first else ()
        return (*shared, *cuts(step.name, self._own(step), self._full, self.workload))

    def _own(self, step: Step) -> tuple[Amount, ...]:
        """Return the amounts of a step that were decided for it, and not for an earlier one."""
        return tuple(one for one in step.amounts(self.context) if one.field in self._fixed.get(step.name, {}))

    def _estimate(self) -> None:
        """See what keeps unfinished steps from being done, and try how long the others take."""
        run = self.context.run
        for one in self.steps:
            if run.is_finished(one.name):
                self.note(run.record(one.name))
        unfinished = [one for one in self.steps if not run.is_finished(one.name)]
        self.obstacles.update(
            {one.name: found for one in unfinished if (found := one.obstacle(self.context)) is not None}
        )
        self._try(unfinished, self._estimates.trials(self.planned))

    def _try(self, steps: Sequence[Step], trials: Trials, *, keep_shorter: bool = False) -> None:
        """Try how long undecided steps take; one that the net does not allow to be tried is not done."""
        undecided = [one for one in steps if one.name not in self.obstacles and one.name not in self._fixed]
        self.obstacles.update(self._estimates.try_steps(undecided, trials, keep_shorter=keep_shorter))
