"""Share out the time that is left among steps: what each of them does is cut until all of it fits."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from quintain.drill.settings import Workload
from quintain.results.records import SizeCut

LEVELS = 100
"""A step's own work is cut in hundredths."""

FLOORS = 0.5
"""All floors may take so much of the time beside what they take with the fewest examples; else the shared
amounts are halved.
"""

ESSENTIAL = 6
"""Where a step of so much worth would be dropped, what all steps share is cut further than is good for it."""

MIN_GRADIENT_STEPS = 100
"""Of a training. After 54 steps of a batch of 128, models with a defense still gave the majority class."""

HALVINGS = 60
"""Of the interval in which the time that each step may take is sought."""


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount of work that may be cut for time.

    Args:
        field: Its field of ``Workload``.
        what: Its name for people, such as ``epochs of adversarial training``.
        floor: Less than this is no use; where even the full form does less, that is the floor.
        last_floor: So little is done where an essential step would be dropped else; ``floor`` if 0.
        fewest: So little is done where any step would be dropped else; ``floor`` if 0.
        enough: More is done only where no other work is cut for that; all of it counts like other work if 0.
        batch_size: Of a training, whose epochs have at least ``MIN_GRADIENT_STEPS`` steps; 0 for other work.
        is_seconds: Whether it is of seconds after which work ends, however fast the machine is; they come on
            top of what a step estimates.
    """

    field: str
    what: str
    floor: int
    last_floor: int = 0
    fewest: int = 0
    enough: int = 0
    batch_size: int = 0
    is_seconds: bool = False

    def least(self, workload: Workload) -> int:
        """Return the floor, which for a training follows from the number of training examples."""
        if not self.batch_size:
            return self.floor
        per_epoch = max(1, math.ceil(workload.train_examples / self.batch_size))
        return max(self.floor, math.ceil(MIN_GRADIENT_STEPS / per_epoch))


@dataclass(frozen=True, slots=True)
class Demand:
    """What a step asks for.

    Args:
        step: Its name.
        amounts: What of its work may be cut.
        seconds: Estimates the time of the step at a workload.
        needs: Steps that it cannot do without.
        weight: Its part of the time where there is not enough, relative to other steps.
        worth: Where not all floors fit, steps of less worth are dropped first.
    """

    step: str
    amounts: tuple[Amount, ...]
    seconds: Callable[[Workload], float]
    needs: tuple[str, ...] = ()
    weight: float = 1.0
    worth: int = 0

    def at(self, workload: Workload, fraction: float) -> float:
        """Return the seconds that it takes with a fraction of its own work."""
        return self.seconds(scale_workload(workload, self.amounts, fraction))


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


def scale_workload(workload: Workload, amounts: Sequence[Amount], fraction: float) -> Workload:
    """Return a workload with a fraction of some amounts, none of them below its floor."""
    full = {one.field: int(getattr(workload, one.field)) for one in amounts}
    sizes = {
        one.field: max(min(full[one.field], one.least(workload)), int(full[one.field] * fraction))
        for one in amounts
    }
    return replace(workload, **sizes)


def cuts(step: str, amounts: Sequence[Amount], full: Workload, chosen: Workload) -> tuple[SizeCut, ...]:
    """Return what of a step's work was cut."""
    pairs = [(one, int(getattr(full, one.field)), int(getattr(chosen, one.field))) for one in amounts]
    return tuple(SizeCut(step, one.what, before, after) for one, before, after in pairs if after < before)


def allot(
    demands: Sequence[Demand],
    full: Workload,
    seconds: float,
    *,
    shared: Sequence[Amount] = (),
    last: Sequence[Amount] = (),
) -> Allotment:
    """Cut the work of some steps until it fits the time.

    Nothing is cut that fits. Else each step may take the same time, times its weight, and what a cheap one
    leaves of it goes to the others. Steps of the same amounts are cut together, in the time of all of them.
    Shared amounts are halved only where the floors of all steps would take more than half of the time, of
    which what they take whatever is shared is no part. Where the floors do not fit at all, the steps are
    taken in their order of worth, and those that do not fit beside the ones before are dropped. Shared
    amounts stay small where an essential step is dropped, or where the others do not use them, so that there
    may be time for the dropped ones in the end. Where nothing is cut, what is left goes to amounts of which
    more than enough is asked.

    Args:
        demands: What the steps ask for, in their order.
        full: The workload without cuts.
        seconds: The time.
        shared: Amounts of work that belong to several steps.
        last: The same with lower floors, for the sake of essential steps alone.
    """
    more = [amount for one in demands for amount in one.amounts if amount.enough]
    enough = replace(full, **{one.field: min(one.enough, getattr(full, one.field)) for one in more})
    if sum(one.seconds(enough) for one in demands) > seconds:
        found = _cut_to_fit(demands, enough, seconds, shared, last)
        if found.dropped or found.workload != enough:
            return found
    return _spend_rest(demands, enough, full, seconds, more)


def _spend_rest(
    demands: Sequence[Demand], enough: Workload, full: Workload, seconds: float, more: Sequence[Amount]
) -> Allotment:
    """Return a workload that fits, with as much beyond enough as there is time for."""

    def allotment(level: int) -> Allotment:
        sizes = {
            one.field: getattr(enough, one.field)
            + (getattr(full, one.field) - getattr(enough, one.field)) * level // LEVELS
            for one in more
        }
        workload = replace(enough, **sizes)
        return Allotment(workload, {}, sum(one.seconds(workload) for one in demands))

    levels = range(LEVELS, 0, -1) if more else ()
    fitting = (found for level in levels if (found := allotment(level)).seconds <= seconds)
    return next(fitting, allotment(0))


def _cut_to_fit(
    demands: Sequence[Demand],
    full: Workload,
    seconds: float,
    shared: Sequence[Amount],
    last: Sequence[Amount],
) -> Allotment:
    """Cut the work of some steps until it fits the time, as ``allot`` says."""
    essential = [one for one in demands if _worth(one, demands) >= ESSENTIAL]

    def common(some: Sequence[Demand]) -> Workload:
        once = _halve(some, full, seconds, shared, FLOORS)
        return _halve([one for one in some if one in essential], once, seconds, last)

    smallest = common(demands)
    kept = _fitting(demands, smallest, seconds)
    if any(one not in kept for one in essential):
        demands = [_lower_floors(one) if one in essential and one not in kept else one for one in demands]
        kept = _fitting(demands, smallest, seconds)
    while any(one not in kept and _fewer(one) != one for one in demands):
        demands = [one if one in kept else _fewer(one) for one in demands]
        kept = _fitting(demands, smallest, seconds)
    chosen = smallest
    if len(kept) < len(demands) and all(one.step in {other.step for other in kept} for one in essential):
        chosen = _small_where_unused(kept, common(kept), smallest, shared)
    if sum(one.at(chosen, 0.0) for one in kept) > seconds:
        chosen = smallest
    workload = _scale_all(_merge(kept), chosen, seconds)
    dropped = {one.step: one.at(smallest, 0.0) for one in reversed(demands) if one not in kept}
    return Allotment(workload, dropped, sum(one.seconds(workload) for one in kept))


def _lower_floors(demand: Demand) -> Demand:
    """Return what a step asks for at its last floors."""
    amounts = (replace(one, floor=one.last_floor or one.floor) for one in demand.amounts)
    return replace(demand, amounts=tuple(amounts))


def _fewer(demand: Demand) -> Demand:
    """Return what a step asks for with one less of what it may do less of, rather than do it badly."""
    amounts = (
        replace(one, floor=max(one.floor - 1, one.fewest)) if one.fewest else one for one in demand.amounts
    )
    return replace(demand, amounts=tuple(amounts))


def _small_where_unused(
    demands: Sequence[Demand], chosen: Workload, smallest: Workload, shared: Sequence[Amount]
) -> Workload:
    """Return a workload with the smallest of the shared amounts that some steps take no time for."""

    def times(workload: Workload) -> list[float]:
        return [one.seconds(workload) for one in demands]

    for amount in shared:
        less = replace(chosen, **{amount.field: getattr(smallest, amount.field)})
        chosen = less if times(less) == times(chosen) else chosen
    return chosen


def _worth(demand: Demand, demands: Sequence[Demand]) -> int:
    """Return the worth of a step, or the most of those that need it."""
    return max(demand.worth, *(one.worth for one in demands if demand.step in one.needs), 0)


def _fitting(demands: Sequence[Demand], workload: Workload, seconds: float) -> list[Demand]:
    """Return the steps, in their order, whose floors fit: each is taken if it fits beside worthier ones."""
    kept, names, left = set[str](), {one.step for one in demands}, seconds
    for one in sorted(demands, key=lambda one: -_worth(one, demands)):
        least = one.at(workload, 0.0)
        if least <= left and all(needed in kept or needed not in names for needed in one.needs):
            kept.add(one.step)
            left -= least
    return [one for one in demands if one.step in kept]


def _halve(
    demands: Sequence[Demand],
    workload: Workload,
    seconds: float,
    shared: Sequence[Amount],
    fraction: float = 1.0,
) -> Workload:
    """Halve shared amounts, always the one that saves most, until the floors of all steps fit a time.

    What follows the shared amounts may take a fraction of the time that the rest leaves.
    """

    def floors(common: Workload) -> float:
        return sum(one.at(common, 0.0) for one in demands)

    common, least = workload, floors(scale_workload(workload, shared, 0.0))
    limit = least + fraction * (seconds - least)
    while floors(common) > limit:
        halved = [scale_workload(common, [one], 0.5) for one in shared]
        best = min(halved, key=floors, default=common)
        if floors(best) >= floors(common):
            break
        common = best
    return common


def _merge(demands: Sequence[Demand]) -> list[Demand]:
    """Return what the steps ask for, with those of the same amounts as one: they are cut together."""
    alike: dict[tuple[Amount, ...], list[Demand]] = {}
    for one in demands:
        alike.setdefault(one.amounts, []).append(one)
    return [_sum(group) for group in alike.values()]


def _sum(demands: Sequence[Demand]) -> Demand:
    """Return what steps of the same amounts ask for together: the time of all of them."""
    return replace(
        demands[0],
        seconds=lambda workload: sum(one.seconds(workload) for one in demands),
        weight=sum(one.weight for one in demands),
    )


def _scale_all(demands: Sequence[Demand], workload: Workload, seconds: float) -> Workload:
    """Return a workload with as much of each step's own work as fits; no amount is in two of them."""

    def within(limit: float) -> Workload:
        scaled = workload
        for one in demands:
            scaled = scale_workload(scaled, one.amounts, _largest(one, workload, limit * one.weight))
        return scaled

    def total(scaled: Workload) -> float:
        return sum(one.seconds(scaled) for one in demands)

    if total(workload) <= seconds:
        return workload
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
