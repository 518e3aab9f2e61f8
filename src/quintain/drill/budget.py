"""Share out the time that is left among steps: what each of them does is cut until all of it fits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from quintain.drill.settings import Workload
from quintain.results.records import SizeCut

LEVELS = 100
"""A step's own work is cut in hundredths."""

FLOORS = 0.5
"""Of the time, all floors together may take so much; else the shared amounts are halved."""

HALVINGS = 60
"""Of the interval in which the time that each step may take is sought."""


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount of work that may be cut for time.

    Args:
        field: Its field of ``Workload``.
        what: Its name for people, such as ``epochs of adversarial training``.
        floor: Less than this is no use; where even the full form does less, that is the floor.
    """

    field: str
    what: str
    floor: int


@dataclass(frozen=True, slots=True)
class Demand:
    """What a step asks for.

    Args:
        step: Its name.
        amounts: What of its work may be cut.
        seconds: Estimates the time of the step at a workload.
        needs: Steps that it cannot do without.
        weight: Its share of the time where there is not enough, relative to other steps.
    """

    step: str
    amounts: tuple[Amount, ...]
    seconds: Callable[[Workload], float]
    needs: tuple[str, ...] = ()
    weight: float = 1.0

    def at(self, workload: Workload, fraction: float) -> float:
        """Return the seconds that it takes with a fraction of its own work."""
        return self.seconds(scaled(workload, self.amounts, fraction))


@dataclass(frozen=True, slots=True)
class Allotment:
    """A workload that fits the time.

    Args:
        workload: How much of everything.
        dropped: Steps that do not fit even at their floors, with their least seconds.
        seconds: Estimate for all steps that are left.
    """

    workload: Workload
    dropped: Mapping[str, float]
    seconds: float


def scaled(workload: Workload, amounts: Sequence[Amount], fraction: float) -> Workload:
    """Return a workload with a fraction of some amounts, none of them below its floor."""
    full = {one.field: int(getattr(workload, one.field)) for one in amounts}
    sizes = {
        one.field: max(min(full[one.field], one.floor), int(full[one.field] * fraction)) for one in amounts
    }
    return replace(workload, **sizes)


def cuts(step: str, amounts: Sequence[Amount], full: Workload, chosen: Workload) -> tuple[SizeCut, ...]:
    """Return what of a step's work was cut."""
    pairs = [(one, int(getattr(full, one.field)), int(getattr(chosen, one.field))) for one in amounts]
    return tuple(SizeCut(step, one.what, before, after) for one, before, after in pairs if after < before)


def allot(
    demands: Sequence[Demand], full: Workload, seconds: float, *, shared: Sequence[Amount] = ()
) -> Allotment:
    """Cut the work of some steps until it fits the time.

    Nothing is cut that fits. Else each step may take the same time, times its weight, and what a cheap one
    leaves of it goes to the others. Shared amounts are halved only where the floors of all steps would take
    more than half of the time. Where the floors do not fit at all, the step that takes longest at its floor,
    and that no other one needs, is dropped.

    Args:
        demands: What the steps ask for, in their order.
        full: The workload without cuts.
        seconds: The time.
        shared: Amounts of work that belong to several steps.
    """
    left, dropped = list(demands), dict[str, float]()
    while True:
        common = _common(left, full, seconds, shared)
        floors = {one.step: one.at(common, 0.0) for one in left}
        if sum(floors.values()) <= seconds or not left:
            break
        free = [one for one in left if not any(one.step in other.needs for other in left)]
        longest = max(free, key=lambda one: floors[one.step])
        dropped[longest.step] = floors[longest.step]
        left.remove(longest)
    fractions = _fractions(left, common, seconds)
    workload = common
    for one in left:
        workload = scaled(workload, one.amounts, fractions[one.step])
    return Allotment(workload, dropped, sum(one.seconds(workload) for one in left))


def _common(demands: Sequence[Demand], full: Workload, seconds: float, shared: Sequence[Amount]) -> Workload:
    """Halve shared amounts, always the one that saves most, until all floors take half of the time."""

    def floors(workload: Workload) -> float:
        return sum(one.at(workload, 0.0) for one in demands)

    common = full
    while floors(common) > FLOORS * seconds:
        halved = [scaled(common, [one], 0.5) for one in shared]
        best = min(halved, key=floors, default=common)
        if floors(best) >= floors(common):
            break
        common = best
    return common


def _fractions(demands: Sequence[Demand], workload: Workload, seconds: float) -> dict[str, float]:
    """Return the fraction of its own work that each step does."""

    def within(limit: float) -> dict[str, float]:
        return {one.step: _largest(one, workload, limit * one.weight) for one in demands}

    def total(found: Mapping[str, float]) -> float:
        return sum(one.at(workload, found[one.step]) for one in demands)

    everything = dict.fromkeys((one.step for one in demands), 1.0)
    if total(everything) <= seconds:
        return everything
    # The total rises with the limit: bisection finds the largest limit that fits.
    low, high = 0.0, seconds
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if total(within(middle)) <= seconds else (low, middle)
    return within(low)


def _largest(demand: Demand, workload: Workload, limit: float) -> float:
    """Return the largest fraction of a step's own work that takes no longer than a limit, or else 0."""
    low, high = 0, LEVELS
    while low < high:
        middle = (low + high + 1) // 2
        fits = demand.at(workload, middle / LEVELS) <= limit
        low, high = (middle, high) if fits else (low, middle - 1)
    return low / LEVELS
