"""How long each step of a drill takes: tried on its net and machine, and corrected by the steps before."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from quintain.core.errors import QuintainError, RunFolderError, StorageError
from quintain.drill.budget import Amount, Demand
from quintain.drill.context import DrillContext
from quintain.drill.pace import DrillPace, slowdown
from quintain.drill.settings import Workload
from quintain.drill.step import CHANGE, Obstacle, Step
from quintain.drill.trials import Clock, Trials

QUIETER = 1.5
"""Where the machine is less busy than in the trials by this factor, these are worth to be repeated."""

SHORT_TRIALS = 0.1
"""Of the time that is left: trials that would take less are made again."""


@dataclass(frozen=True, slots=True)
class BegunStep:
    """A step that is being done.

    Args:
        step: The step.
        started, work_started: Readings of the clock and of the processor time.
        estimated: Estimate of its processor time.
        limit: Seconds of it that end by the clock.
    """

    step: Step
    started: float
    work_started: float
    estimated: float
    limit: float


@dataclass
class Estimates:
    """Estimates of the steps of a drill.

    What is tried is processor time, so that a step is estimated alike on a quiet and on a busy machine; how
    long it takes by the clock follows from the pace.

    Args:
        context: With the full workload.
        clock: Tells the time.
        work_clock: Tells the processor time of this thread, or the time where a processor is not what works.

    Attributes:
        trial_seconds: Seconds that trials took.
        pace: Seconds by the clock for each second of processor time.
    """

    context: DrillContext
    clock: Clock
    work_clock: Clock
    trial_seconds: float = field(default=0.0, init=False)
    pace: DrillPace = field(init=False)

    def __post_init__(self) -> None:
        self.pace = DrillPace(self.context.settings.seconds)
        self._demands: dict[str, Demand] = {}
        self._begun: BegunStep | None = None
        self._tried_at = 1.0

    def trials(self, planned: frozenset[str]) -> Trials:
        """Return trials of which none is made yet.

        Args:
            planned: The steps that are done.
        """
        return Trials(replace(self.context, planned=planned), self.work_clock, self.clock)

    def is_quieter(self, trials: Trials, left: float) -> bool:
        """Return whether the machine is much less busy than in the trials before, by the first new one.

        Args:
            trials: Of which none is made yet.
            left: The time that is left, of which new trials may take a small part.
        """
        if self._tried_at < QUIETER:
            return False
        started, work_started = self.clock(), self.work_clock()
        trials.forward  # noqa: B018  made when it is asked
        now = slowdown(self.clock() - started, self.work_clock() - work_started)
        # all of them take so much less time now, too
        is_worth_it = self.trial_seconds * now / self._tried_at < SHORT_TRIALS * left
        return is_worth_it and now * QUIETER <= self._tried_at

    def try_steps(
        self, steps: Sequence[Step], trials: Trials, *, keep_shorter: bool = False
    ) -> dict[str, Obstacle]:
        """Try how long steps take.

        Args:
            steps: The steps.
            trials: Of the machine as it is now.
            keep_shorter: Whether an earlier estimate stays where it is shorter: other programs make trials
                longer, never shorter.

        Returns:
            Why the net does not allow some to be tried.
        """
        refused: dict[str, Obstacle] = {}
        started, work_started = self.clock(), self.work_clock()
        for one in steps:
            try:
                seconds = one.estimate(trials.context, trials)
                seconds(self.context.workload)  # the first call makes the trials
            except (RunFolderError, StorageError):
                raise
            except QuintainError as error:
                refused[one.name] = Obstacle(str(error), CHANGE)
                continue
            if keep_shorter and one.name in self._demands:
                seconds = _shorter(self._demands[one.name].seconds, seconds)
            self._demands[one.name] = Demand(
                one.name,
                one.amounts(self.context),
                seconds,
                needs=one.needs,
                weight=one.weight,
                worth=one.worth,
            )
        taken = self.clock() - started
        self.trial_seconds += taken
        self.pace.note_load(taken, self.work_clock() - work_started, is_trial=True)
        self._tried_at = self.pace.slowdown
        return refused

    def demands(self) -> Mapping[str, Demand]:
        """Return what each step asks for, in seconds by the clock."""
        pace = float(self.pace)
        return {
            name: replace(one, seconds=_by_the_clock(one.seconds, pace, one.amounts))
            for name, one in self._demands.items()
        }

    def begin(self, step: Step, workload: Workload) -> float:
        """Begin a step, and return the seconds that it is estimated to take."""
        demand = self._demands[step.name]
        estimated, limit = demand.seconds(workload), _limit(demand.amounts, workload)
        self._begun = BegunStep(step, self.clock(), self.work_clock(), estimated, limit)
        return float(self.pace) * estimated + limit

    def end(self, *, is_done: bool) -> None:
        """Take note of how long the step that was begun took, if any was and it was done."""
        begun, self._begun = self._begun, None
        if begun is None or not is_done:
            return
        taken, worked = self.clock() - begun.started, self.work_clock() - begun.work_started
        if begun.step.has_workers:
            worked = max(taken - begun.limit, 0.0) / self.pace.slowdown
        else:
            self.pace.note_load(taken, worked)
        self.pace.note_step(begun.estimated, worked, at_most=begun.step.takes_at_most)


def _limit(amounts: Sequence[Amount], workload: Workload) -> float:
    """Return the seconds of the work that ends by the clock."""
    return float(sum(getattr(workload, one.field) for one in amounts if one.is_seconds))


def _by_the_clock(
    work: Callable[[Workload], float], pace: float, amounts: Sequence[Amount]
) -> Callable[[Workload], float]:
    return lambda workload: pace * work(workload) + _limit(amounts, workload)


def _shorter(
    first: Callable[[Workload], float], second: Callable[[Workload], float]
) -> Callable[[Workload], float]:
    return lambda workload: min(first(workload), second(workload))
