"""What a step of the drill is: what it needs, what keeps it from being done, how long it takes, its work."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TypeVar

from quintain.core.errors import DataError, ModelError, PrivacyError, SettingError
from quintain.drill.budget import Amount
from quintain.drill.context import DrillContext
from quintain.drill.settings import Workload
from quintain.drill.trials import Trials
from quintain.evaluate.step import StepOutput
from quintain.results.records import Claim, NotDone

Estimate = Callable[[Workload], float]
Found = TypeVar("Found")

IMPOSSIBLE = (ModelError, DataError, PrivacyError, SettingError)
"""What is raised where a step, or a part of one, cannot be done on the user's model or data."""

CHANGE = "change the model or the data, and drill into a new folder"
"""The remedy where nothing better is known."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What keeps a step from being done on this model or these data.

    Args:
        reason: Why it cannot be done.
        remedy: What to change so that it can.
    """

    reason: str
    remedy: str


def refusals_are_obstacles(
    look: Callable[[DrillContext], Obstacle | None],
) -> Callable[[DrillContext], Obstacle | None]:
    """Let what a look for obstacles is refused on the user's model or data be an obstacle itself."""

    @wraps(look)
    def look_or_refuse(context: DrillContext) -> Obstacle | None:
        try:
            return look(context)
        except IMPOSSIBLE as error:
            return Obstacle(str(error), CHANGE)

    return look_or_refuse


def do_part(
    what: str, work: Callable[[], Found], missing: list[NotDone], *, remedy: str = CHANGE
) -> Found | None:
    """Do a part of a step; a refusal is added to ``missing`` and leaves the step's other parts as they are.

    Args:
        what: The part, for people.
        work: Does it.
        missing: The parts of the step that are not done.
        remedy: What to change so that it can be done.

    Returns:
        What the part found, None where it is not done.
    """
    try:
        return work()
    except IMPOSSIBLE as error:
        missing.append(NotDone(what, str(error), remedy))
        return None


def nothing_to_cut(_context: DrillContext) -> tuple[Amount, ...]:
    """Say that all of a step is done or nothing."""
    return ()


def nothing_in_the_way(_context: DrillContext) -> None:
    """Say that a step can be done on every model and all data."""


def no_claims(_context: DrillContext) -> tuple[Claim, ...]:
    """Say that no claim is missing where a step is not done."""
    return ()


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the drill.

    Args:
        name: As ``--only`` takes it.
        run: Does it.
        estimate: Tries it for a moment, and returns how many seconds of a processor it takes at a workload.
        obstacle: Says what keeps it from being done, if anything does; nothing is trained for that.
        needs: Steps whose results it cannot do without.
        amounts: What of its work may be cut for time.
        claims_without: Claims that it would have made, and that earlier results allow where it is not done.
        weight: Its part of the time where there is not enough, relative to other steps.
        worth: Where there is no time for all steps, those of less worth are dropped first.
        takes_at_most: Whether the estimate is of the most that it can take: that it took less says nothing of
            how fast the others are.
        has_workers: Whether other processes may do its work, of which this one's processor time says nothing.
    """

    name: str
    run: Callable[[DrillContext], StepOutput]
    estimate: Callable[[DrillContext, Trials], Estimate]
    obstacle: Callable[[DrillContext], Obstacle | None] = nothing_in_the_way
    needs: tuple[str, ...] = ()
    amounts: Callable[[DrillContext], tuple[Amount, ...]] = nothing_to_cut
    claims_without: Callable[[DrillContext], tuple[Claim, ...]] = no_claims
    weight: float = 1.0
    worth: int = 0
    takes_at_most: bool = False
    has_workers: bool = False
